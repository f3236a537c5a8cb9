"""Which known words a misspelt one probably meant, and how to say so."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_SIMILAR = 0.6
_MARGIN = 0.15


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Known words closest to ``word``, best first; upper case and ``_``/``-`` do not count as different.

    Words clearly farther than the best one are left out.
    """
    matcher = SequenceMatcher(b=_fold(word))
    scored: dict[str, float] = {}
    for name in known:
        matcher.set_seq1(_fold(name))
        scored.setdefault(name, matcher.ratio())
    best = max(scored.values(), default=0.0)
    close = [name for name, score in scored.items() if score >= max(_SIMILAR, best - _MARGIN)]
    return sorted(close, key=lambda name: (-scored[name], name))[:count]


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
