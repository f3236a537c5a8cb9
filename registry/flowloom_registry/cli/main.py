"""Parsing arguments, choosing a command, and turning errors into exit codes."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

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
    from flowloom.errors import FlowloomError

    words = list(sys.argv[1:] if argv is None else argv)
    _open_streams()
    try:
        with _notes_in_a_line():
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
        if speaks(error):
            for line in str(error).splitlines() or [type(error).__name__]:
                print(line, file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        if rank() == 0:
            print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        if speaks(error):
            print(
                "there is not enough memory for this: take fewer examples at once, or a smaller network; "
                "FLOWLOOM_DEBUG=1 shows where",
                file=sys.stderr,
            )
        if os.environ.get("FLOWLOOM_DEBUG") == "1":
            traceback.print_exc()
        return EXIT_USER
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = f": {error.filename}" if error.filename else ""
        if speaks(error):
            print(f"{error.strerror}{where}", file=sys.stderr)
        return EXIT_USER
    finally:
        leave()


def _open_streams() -> None:
    """Streams that are there, and take every character: what theirs cannot show becomes a question mark."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever called
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@contextmanager
def _notes_in_a_line() -> Iterator[None]:
    """Warnings of flowloom's parts without the line of code that gave them; all others as ever."""
    whole = warnings.formatwarning

    def told(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        ours = Path(filename.rpartition("site-packages")[2]).parts
        if not any(part.split("_")[0] == "flowloom" for part in ours):
            return whole(message, category, filename, lineno, line)
        return f"note: {' '.join(str(message).split())}\n"

    warnings.formatwarning = told
    try:
        yield
    finally:
        warnings.formatwarning = whole


def _out_of_memory(error: BaseException) -> bool:
    """Python's own error, and torch's, which on the CPU is a plain RuntimeError."""
    said = str(error)
    return isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said


class _Parser(argparse.ArgumentParser):
    """Mistakes in one line, as all others are told."""

    def error(self, message: str) -> NoReturn:
        """Say it, and what shows more."""
        self.exit(EXIT_USER, f"{self.prog}: {message}; '{self.prog} --help' shows what it takes\n")


def _run(words: list[str]) -> int:
    parser = _Parser(
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


def _add_plugin_commands(subparsers: argparse._SubParsersAction[Any]) -> None:
    from flowloom_registry.errors import one_line
    from flowloom_registry.plugins.discovery import catalog

    for name, result in catalog().call_each("flowloom_commands", subparsers=subparsers):
        if isinstance(result, BaseException):
            print(f"plugin '{name}' cannot add its commands: {one_line(result)}", file=sys.stderr)
