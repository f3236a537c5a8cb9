"""Pictures and sounds in a page: alone, in strips, as frames of a player."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from flowloom.renderers import Figure

__all__ = ["Frame", "Strip", "embed", "player", "strips"]

_SMALL = 96
"""Images narrower than this are enlarged pixel by pixel, larger ones smoothly."""


@dataclass(frozen=True)
class Strip:
    """A row of small pictures.

    Args:
        label: what they are.
        pictures: from left to right.
    """

    label: str
    pictures: Sequence[Figure]


@dataclass(frozen=True)
class Frame:
    """One stand of a player.

    Args:
        label: shown beside the slider (``t = 0.50``).
        pictures: side by side.
    """

    label: str
    pictures: Sequence[Figure]


def embed(picture: Figure) -> Markup:
    """A picture with its content inside the page."""
    if picture.mime == "text/html":
        return Markup('<div class="own">{}</div>').format(Markup(picture.data.decode("utf-8", "replace")))
    uri = f"data:{picture.mime};base64,{base64.b64encode(picture.data).decode()}"
    if picture.mime.startswith("audio/"):
        return Markup('<audio controls aria-label="{}" src="{}"></audio>').format(picture.title, uri)
    width = _width(picture)
    small = Markup(' class="pixels"') if width is not None and width < _SMALL else ""
    return Markup('<img alt="{}"{} src="{}">').format(picture.title, small, uri)


def strips(rows: Sequence[Strip], *, caption: str = "") -> Markup:
    """Rows of small pictures below each other, each with its label, all of one width."""
    shown = [row for row in rows if row.pictures]
    if not shown:
        return Markup("")
    most = max(len(row.pictures) for row in shown)
    kind = "texts" if any(p.mime == "text/html" for row in shown for p in row.pictures) else "tiles"
    body = Markup("").join(
        Markup(
            '<div class="strip"><span class="label">{}</span><div class="{}" style="--n:{}">{}</div></div>'
        ).format(row.label, kind, most, Markup("").join(map(embed, row.pictures)))
        for row in shown
    )
    below = Markup('<p class="soft">{}</p>').format(caption) if caption else ""
    return Markup('<div class="strips">{}</div>{}').format(body, below)


def player(frames: Sequence[Frame], still: Markup, *, caption: str = "") -> Markup:
    """Frames behind a slider; where there is no JavaScript, and in print, the still picture."""
    if len(frames) < 2:
        return still
    kind = "texts" if any(p.mime == "text/html" for f in frames for p in f.pictures) else "tiles"
    most = max(len(frame.pictures) for frame in frames)
    kind += " alone" if most == 1 else ""
    body = Markup("").join(
        Markup('<div class="frame {}" style="--n:{}" data-label="{}">{}</div>').format(
            kind, most, frame.label, Markup("").join(map(embed, frame.pictures))
        )
        for frame in frames
    )
    below = Markup('<p class="soft">{}</p>').format(caption) if caption else ""
    return Markup(
        '<div class="player"><div class="stage" hidden>{}</div><div class="still">{}</div></div>{}'
    ).format(body, still, below)


def _width(picture: Figure) -> int | None:
    """Width of a PNG, None of anything else."""
    if picture.mime != "image/png" or len(picture.data) < 24:
        return None
    return int(struct.unpack(">I", picture.data[16:20])[0])
