"""The levels of a U-Net, down and up again, before anything is built on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Place", "ladder"]


@dataclass(frozen=True)
class Place:
    """Where one block stands, or where the image is halved.

    Args:
        into: channels that come, on the way up with those of the skip beside them; multiples of the width.
        out: channels that leave, as multiples of the width.
        attends: whether the image has a height there at which blocks attend.
        last: whether it is the last of its level on the way up.
        resample: ``"down"`` where the image is halved and there is no block; ``"up"`` where it is doubled
            after the block; ``""`` elsewhere.
    """

    into: int
    out: int
    attends: bool = False
    last: bool = False
    resample: str = ""


def ladder(
    multipliers: Sequence[int], blocks: int, attention: Sequence[int], height: int, stem: int = 1
) -> tuple[list[Place], list[Place]]:
    """The places on the way down and on the way up, in order.

    The stem and every place on the way down leave a skip, which the places on the way up join, last first.

    Args:
        multipliers: channels of each level as multiples of a width; each further level halves the image.
        blocks: of a level on the way down; one more on the way up.
        attention: heights of the image, in pixels, at which blocks attend.
        height: of the image.
        stem: channels of the stem, as a multiple of the width.
    """
    down: list[Place] = []
    skips, channels, size = [stem], stem, height
    for level, multiple in enumerate(multipliers):
        if level:
            down.append(Place(channels, channels, resample="down"))
            skips.append(channels)
            size //= 2
        for _ in range(blocks):
            down.append(Place(channels, multiple, size in attention))
            channels = multiple
            skips.append(channels)
    up: list[Place] = []
    for level, multiple in reversed(list(enumerate(multipliers))):
        for i in range(blocks + 1):
            last = i == blocks
            grows = "up" if level and last else ""
            up.append(Place(channels + skips.pop(), multiple, size in attention, last, grows))
            channels = multiple
        size *= 2
    return down, up
