"""Words of the command line: ``NAME=VALUE``, and seeds."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flowloom.digits import are_digits


def examples(parser: argparse.ArgumentParser, *lines: str) -> None:
    """Show examples of a command below its ``--help``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["examples:", *(f"  {line}" for line in lines)])


def takes_overrides(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add ``--set A.B=VALUE``, which may be given several times, as ``args.overrides``.

    Args:
        parser: of a command.
        meaning: what is changed by it, for ``--help``.
    """
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="A.B=VALUE", help=meaning
    )


def count(text: str) -> int:
    """How many, from 1: the ``type`` of an argument.

    Raises:
        ArgumentTypeError: it is no such number.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number < 2**31:
        raise argparse.ArgumentTypeError(f"a whole number from 1 is wanted, got {text!r}")
    return number


def place(text: str) -> Path:
    """Where to write: the ``type`` of an argument.

    Raises:
        ArgumentTypeError: it is empty, which would be the working folder.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of a folder is wanted, got an empty one")
    return Path(text)


def require_folder(option: str, out: Path) -> None:
    """Ask for a place that is a folder, or can become one.

    Raises:
        FlowloomError: it is a file, or lies below one.
    """
    from flowloom.errors import FlowloomError

    there = next((one for one in (out, *out.parents) if one.exists()), None)
    if there is not None and not there.is_dir():
        below = "" if there == out else f": {there} is a file"
        what = "cannot be a folder" if below else "is a file; name a folder"
        raise FlowloomError(f"{option} {out} {what}{below}")


def settings(words: Iterable[str]) -> dict[str, Any]:
    """Constructor arguments from ``hole=?`` or ``steps=8``; values are read as `value` reads them.

    Raises:
        FlowloomError: a word is no ``NAME=VALUE``, or a name is given twice.
        ConfigError: a value is no YAML.
    """
    return {name: value(text, f"--set {name}={text}") for name, text in named("--set", words).items()}


def value(text: str, place: str) -> Any:
    """A value as YAML has it on one line: a scalar, ``[1, 2]`` or ``{a: 1}``; any other text is text.

    What YAML would read as the beginning of a block (``?``, ``-``, ``a: b``) is the text that it looks like.

    Raises:
        ConfigError: it is no YAML, or gives a key twice.
    """
    from flowloom_registry.config.nodes import ScalarNode, plain
    from flowloom_registry.config.yaml import read
    from flowloom_registry.errors import ConfigError

    if not text.strip():
        return None
    try:
        document = read(text.encode(), place)
    except ConfigError:
        if len(text) == 1:
            return text  # a mark such as * or %, which YAML keeps for itself
        raise
    if not isinstance(document.root, ScalarNode) and not text.lstrip().startswith(("[", "{")):
        return text
    if document.problems:
        raise ConfigError(document.problems)
    return plain(document.root)


def named(option: str, words: Iterable[str], example: str = "") -> dict[str, str]:
    """Texts by name, from words ``NAME=TEXT``.

    Raises:
        FlowloomError: a word is no ``NAME=TEXT``, or a name is given twice.
    """
    from flowloom.errors import FlowloomError

    given: dict[str, str] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign or not name:
            raise FlowloomError(f"{option} {word}: expected NAME=VALUE{example}")
        if name in given:
            raise FlowloomError(f"{option} {word}: {name} is given twice, first as {given[name]!r}; keep one")
        given[name] = text
    return given


def require_seed(seed: int) -> None:
    """Ask for a seed that every generator can be given.

    Raises:
        FlowloomError: it is too large.
    """
    from flowloom.errors import FlowloomError

    # Some multiply it by a million before a generator of 64 bits sees it.
    if abs(seed) >= 2**40:
        raise FlowloomError(f"--seed {seed} is too large; it has to lie between -2^40 and 2^40")


def seeds(text: str | None) -> list[int] | None:
    """Seeds from ``3,4,5`` or ``3-5``; None where nothing is given.

    Raises:
        FlowloomError: they are written otherwise, or one is too large.
    """
    from flowloom.errors import FlowloomError

    if text is None:
        return None
    found: list[int] = []
    for word in text.split(","):
        first, dash, last = word.strip().partition("-")
        last = last if dash else first
        whole = are_digits(first) and are_digits(last)
        if not whole or int(last) - int(first) > 10_000:
            raise FlowloomError(f"--seeds {text}: expected whole numbers such as 3,4,5 or 3-5")
        found += range(int(first), int(last) + 1)
    for seed in found:
        require_seed(seed)
    if not found or len(set(found)) != len(found):
        raise FlowloomError(f"--seeds {text}: expected one seed or several, each of them once")
    return found
