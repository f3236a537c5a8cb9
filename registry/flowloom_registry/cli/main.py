"""Parsing arguments, choosing a command, and turning errors into exit codes."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

from flowloom_registry.cli.commands import COMMANDS
from flowloom_registry.cli.processes import leave, rank, speaks

EXIT_USER = 2
"""Something that the user can mend."""
EXIT_INTERRUPTED = 130
"""Stopped by Ctrl-C."""

_DISK = (
    errno.EACCES,
    errno.ENOENT,
    errno.EPERM,
    errno.ENOSPC,
    errno.EROFS,
    errno.EDQUOT,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; those of the process when None.

    Returns:
        0 where all went well, 2 for a mistake of the user's (told in one line per problem), 130 after
        Ctrl-C. A bug shows its traceback, and ``FLOWLOOM_DEBUG=1`` that of a mistake as well.
    """
    from flowloom.errors import FlowloomError, StoppedElsewhereError

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except SystemExit as stop:
        # Nothing of flowloom's does that: a component, a tracker or a plugin did, and nothing is finished.
        print(f"stopped half-way: something called sys.exit({stop.code!r})", file=sys.stderr)
        return EXIT_USER
    except FlowloomError as error:
        if os.environ.get("FLOWLOOM_DEBUG") == "1":
            traceback.print_exc()
        if not isinstance(error, StoppedElsewhereError) and speaks():
            for line in str(error).splitlines() or [type(error).__name__]:
                print(line, file=sys.stderr)
        leave()
        return EXIT_USER
    except KeyboardInterrupt:
        if rank() == 0:
            print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = f": {error.filename}" if error.filename else ""
        if speaks():
            print(f"{error.strerror}{where}", file=sys.stderr)
        leave()
        return EXIT_USER


def _run(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="flowloom",
        description="Flow matching and its relatives on every kind of data.",
        epilog="Plugins may add commands of their own; each command has --help.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    chosen = next((word for word in words if not word.startswith("-")), None)
    known = {command.name for command in COMMANDS}
    for command in COMMANDS:
        subparser = subparsers.add_parser(command.name, help=command.summary, description=command.summary)
        if command.name == chosen:
            module = import_module(command.module)
            module.configure(subparser)
            subparser.set_defaults(run=module.run)
    if chosen is not None and chosen not in known:
        _add_plugin_commands(subparsers)
    try:
        args = parser.parse_args(words)
    except SystemExit as stop:  # --help, and words that cannot be read
        return stop.code if isinstance(stop.code, int) else EXIT_USER
    if args.version:
        from importlib.metadata import version

        print(version("flowloom"))
        return 0
    run: Callable[[argparse.Namespace], int] | None = getattr(args, "run", None)
    if run is None:
        parser.print_help()
        return 0
    return run(args)


def _add_plugin_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from flowloom_registry.errors import one_line
    from flowloom_registry.plugins.discovery import catalog

    for name, result in catalog().call_each("flowloom_commands", subparsers=subparsers):
        if isinstance(result, BaseException):
            print(f"plugin '{name}' cannot add its commands: {one_line(result)}", file=sys.stderr)
