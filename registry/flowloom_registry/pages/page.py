"""The page around everything: head, contents, sections."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

__all__ = ["Section", "page", "render"]

_SCRIPTS = ("uPlot.iife.min.js", "page.js")
_STYLES = ("uPlot.min.css", "theme.css")


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading, which the contents name.

    Args:
        title: the heading.
        body: what stands below it.
        soft: one line below the heading, in soft ink.
    """

    title: str
    body: Markup
    soft: str = ""

    @property
    def anchor(self) -> str:
        """Where the contents point to."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"


def page(title: str, *sections: Section, head: str = "") -> str:
    """One HTML file that loads nothing from anywhere.

    Args:
        title: of the page.
        sections: below the contents; two of one title would share their anchor.
        head: what stands above the contents, a `Markup`: a summary, pictures, a verdict.
    """
    return str(
        render(
            "flowloom_registry.pages",
            "page.html.j2",
            title=title,
            head=head,
            sections=sections,
            styles=[_asset(name) for name in _STYLES],
            scripts=[_asset(name) for name in _SCRIPTS],
        )
    )


def render(package: str, name: str, **values: Any) -> Markup:
    """A template that lies in ``package``, filled; whatever is no `Markup` is escaped."""
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return Markup(jinja.from_string(text).render(**values))


def _asset(name: str) -> Markup:
    return Markup(files("flowloom_registry.pages").joinpath("assets", name).read_text(encoding="utf-8"))
