"""Small parts of a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from markupsafe import Markup

__all__ = ["badges", "bar", "command", "notes"]


def badges(facts: Mapping[str, str]) -> Markup:
    """Facts in a row: a word and a value each; empty values are left out."""
    items = Markup("").join(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value)
        for name, value in facts.items()
        if value
    )
    return Markup('<dl class="badges">{}</dl>').format(items)


def bar(value: float, title: str) -> Markup:
    """Where a value lies between a baseline (0, at the left) and a floor (1, near the right).

    Args:
        value: the place; what is below 0 or far above 1 is drawn at the edge.
        title: the same in words, for those who cannot see it.
    """
    # The floor stands at four fifths: what is better than it has room.
    place = 4 + 96 * min(max(0.8 * value, 0.0), 1.0) * 0.96
    return Markup(
        '<span class="bar" role="img" aria-label="{0}" title="{0}"><i style="left:{1:.1f}%"></i></span>'
    ).format(title, place)


def command(text: str, label: str = "") -> Markup:
    """A command or a few lines of code, with a button that copies them."""
    above = Markup('<span class="label">{}</span>').format(label) if label else ""
    return Markup('<div class="command">{}<pre><code>{}</code></pre></div>').format(above, text)


def notes(lines: Iterable[str]) -> Markup:
    """Notes as sentences, a point each; nothing where there are none."""
    items = Markup("").join(Markup("<li>{}</li>").format(_sentence(line)) for line in lines if line.strip())
    return Markup('<ul class="notes">{}</ul>').format(items) if items else Markup("")


def _sentence(line: str) -> str:
    text = line.strip()
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
