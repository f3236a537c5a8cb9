"""Which known words a misspelt one probably meant, and how to say so."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Known words closest to ``word``, best first; upper case and ``_``/``-`` do not count as different."""
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(_fold(name), name)
    return [folded[hit] for hit in get_close_matches(_fold(word), list(folded), n=count, cutoff=0.6)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean 'a' or 'b'?`` for the closest known words, or an empty string."""
    hits = nearest(word, known)
    return f"did you mean {' or '.join(repr(hit) for hit in hits)}?" if hits else ""


def listing(words: Iterable[str], limit: int = 24) -> str:
    """Sorted words joined by commas, shortened with a count when there are many."""
    names = sorted(words)
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} more"


def join_hints(*hints: str) -> str:
    """Non-empty hints, in order, as one phrase."""
    return "; ".join(hint for hint in hints if hint)


def _fold(word: str) -> str:
    return word.lower().replace("_", "-")
