"""Words of the command line: ``NAME=VALUE``, and seeds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def conditions(words: Iterable[str]) -> dict[str, Any]:
    """Conditions from ``label=3``, ``label=cat`` or ``position=0.5,1``.

    Raises:
        FlowloomError: a word is no ``NAME=VALUE``.
    """
    given: dict[str, Any] = {}
    for word in words:
        name, value = _named("--cond", word, ", such as label=3")
        items = [_number(item) for item in value.split(",")]
        given[name] = items if len(items) > 1 else items[0]
    return given


def settings(words: Iterable[str]) -> dict[str, Any]:
    """Constructor arguments from ``hole=?`` or ``steps=8``; values are read as YAML.

    Raises:
        FlowloomError: a word is no ``NAME=VALUE``.
        ConfigError: a value is no YAML.
    """
    from flowloom_registry.config.nodes import plain
    from flowloom_registry.config.yaml import read

    given: dict[str, Any] = {}
    for word in words:
        name, value = _named("--set", word)
        given[name] = plain(read(value.encode(), f"--set {word}").root)
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


def _named(option: str, word: str, example: str = "") -> tuple[str, str]:
    from flowloom.errors import FlowloomError

    name, sign, value = word.partition("=")
    if not sign or not name:
        raise FlowloomError(f"{option} {word}: expected NAME=VALUE{example}")
    return name, value


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
