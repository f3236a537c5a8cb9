"""Docstrings as Markdown: headings, lists of arguments, equations, code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from flowloom_registry.reference.docstring import Section, sections_of

_TABLE = re.compile(r"=+(  +=+)+")
_MATH = re.compile(r":math:`([^`]*)`")
_CODE = re.compile(r"``(.+?)``", re.DOTALL)


def markdown(text: str) -> str:
    """A docstring as Markdown; nothing is left out."""
    return "\n\n".join("\n".join(_stretch(one)) for one in sections_of(text))


def _stretch(section: Section) -> Iterator[str]:
    if not section.heading:
        yield from running(section.lines)
        return
    entries = section.entries()
    yield f"*{section.heading}*"
    yield ""
    if not entries:
        yield from running(section.lines)
    for name, lines in entries:
        said = list(running(lines))
        yield f"* `{name}`: {said[0]}" if said else f"* `{name}`"
        yield from (f"  {line}".rstrip() for line in said[1:])


def running(lines: Sequence[str]) -> Iterator[str]:
    """Running text: equations, tables, examples and blocks of code find their fences."""
    kept = list(lines)
    while kept:
        line = kept.pop(0)
        if line.strip() == ".. math::":
            yield from _fenced("math", _block(kept))
        elif _TABLE.fullmatch(line.strip()):
            yield from _fenced("text", [line, *_until(kept, "")])
        elif line.startswith(">>> "):
            yield from _fenced("pycon", [line, *_until(kept, "")])
        elif line.endswith("::"):
            yield _inline(line[:-1])
            yield ""
            yield from _fenced("text", _block(kept))
        else:
            yield _inline(line)


def _fenced(language: str, lines: Sequence[str]) -> Iterator[str]:
    yield f"```{language}"
    yield from lines
    yield "```"


def _block(kept: list[str]) -> list[str]:
    """The indented lines that follow, taken from ``kept`` and moved to the left."""
    taken: list[str] = []
    while kept and (not kept[0].strip() or kept[0].startswith(" ")):
        taken.append(kept.pop(0))
    while taken and not taken[-1].strip():
        kept.insert(0, taken.pop())
    while taken and not taken[0].strip():
        taken.pop(0)
    indent = min((len(line) - len(line.lstrip()) for line in taken if line.strip()), default=0)
    return [line[indent:] for line in taken]


def _until(kept: list[str], end: str) -> list[str]:
    taken: list[str] = []
    while kept and kept[0].strip() != end:
        taken.append(kept.pop(0))
    return taken


def _inline(line: str) -> str:
    line = _MATH.sub(lambda found: f"$`{found[1]}`$", line)
    return _CODE.sub(lambda found: f"`{found[1]}`", line)
