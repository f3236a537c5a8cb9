"""The registry's errors: each is a user's to mend and says, in one line per problem, how."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from flowloom.errors import FlowloomError

_WORD = re.compile(r"[^\s/]{160,}")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a recipe.

    Args:
        file: the recipe file, or ``--set a.b=value`` for an override.
        line: line, counted from 1; None where the place has no line (an override, a default).
        column: column, counted from 1; None as for ``line``.
        path: dotted path of the value (``solver.rtol``), may be empty.
        message: what was given and what is accepted.
        hint: what to write instead, may be empty.
    """

    file: str
    line: int | None
    column: int | None
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        parts = (
            [place, _short(self.path), _short(self.message)] if self.path else [place, _short(self.message)]
        )
        line = ": ".join(parts)
        return f"{line}; {self.hint}" if self.hint else line


def _short(text: str) -> str:
    """Without the middle of what no person wrote as one word."""
    return _WORD.sub(lambda word: f"{word[0][:60]}...{word[0][-12:]}", text)


class ConfigError(FlowloomError):
    """A recipe with one or more problems, all of them reported together.

    Args:
        problems: what is wrong, in the order in which it is to be read.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class MisfitError(ConfigError):
    """A recipe without a mistake whose parts cannot work together, as they say themselves."""


class UnknownComponentError(FlowloomError):
    """No component, recipe or kind has the name that was asked for."""


class AmbiguousComponentError(FlowloomError):
    """Several plugins provide the name; the message lists the ``plugin:name`` spellings to choose from."""


class PluginError(FlowloomError):
    """A plugin breaks the rules of registration; its author has to mend it."""


def one_line(error: BaseException) -> str:
    """``Type: message`` of an error of any kind, folded into a single line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # an error that cannot even say what it is
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
