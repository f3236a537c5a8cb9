"""Sample grids and noise-to-data strips as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from flowloom.data import Examples
from flowloom.renderers import Figure, Renderer
from flowloom.spec import Spec
from flowloom.state import State, first_leaf

_INK, _PAPER = (40, 40, 40), (255, 255, 255)
_TEXT = 13


class ImageGrid(Renderer):
    """Images side by side, those of one class in one row; small ones enlarged pixel by pixel.

    Args:
        columns: images per row and side.
        rows: most rows: classes where there are labels.
        pixels: images narrower than this are enlarged by whole factors to at least this width.
        strips: rows of the noise-to-data figure.
        frames: most times shown in it.
        spec: of the data, for value limits and names of classes.
    """

    def __init__(
        self,
        columns: int = 10,
        rows: int = 10,
        pixels: int = 48,
        strips: int = 8,
        frames: int = 11,
        spec: Spec | None = None,
    ) -> None:
        if min(columns, rows, pixels, strips) < 1 or frames < 2:
            raise ValueError("columns, rows, pixels and strips must be at least 1, and frames at least 2")
        self.columns, self.rows, self.pixels = columns, rows, pixels
        self.strips, self.frames = strips, frames
        self.limits = (spec and spec.limits) or (-1.0, 1.0)
        label = spec.conditions.get("label") if spec else None
        self.names = label.names if label else ()

    def misfit(self, spec: Spec) -> str:
        """Anything but images."""
        if not spec.parts and spec.vocab is None and len(spec.shape) == 3:
            return ""
        return f"renderer image-grid shows images, (channels, height, width); the data have {spec.in_words()}"

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """One figure: generated images on the left, real ones on the right, a row for each class."""
        titles = ["generated", "real"]
        groups = self._by_class(samples, real)
        if groups is None:
            count = self.rows * self.columns
            sides = [_cut(first_leaf(one.x)[:count], self.columns) for one in (samples, real)]
            names: list[str] = []
            caption = "Generated images beside real ones."
        else:
            classes, sides = groups
            names = [self._name(label) for label in classes]
            caption = "Generated images beside real ones, one class to a row."
        png = self._page([(title, side) for title, side in zip(titles, sides, strict=True) if side], names)
        return [Figure("Samples", "image/png", png, caption)]

    def answers(self, asked: Examples | None, answered: Examples, truth: Examples) -> list[Figure]:
        """One figure: what was asked, what was answered and what was right, side by side."""
        count = self.rows * self.columns // 2
        sides = [("asked", asked), ("answered", answered), ("truth", truth)]
        width = max(self.columns // 2, 1)
        there = [(title, first_leaf(one.x)[:count]) for title, one in sides if one is not None]
        blocks = [(title, _cut(images, width)) for title, images in there]
        caption = "Each image stands at the same place in every block."
        return [Figure("Answers", "image/png", self._page(blocks, []), caption)]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """One figure: a few rows on their way from noise to data, time running to the right."""
        last = len(times) - 1
        frames = min(self.frames, len(times))
        shown = [round(i * last / max(frames - 1, 1)) for i in range(frames)]
        columns = [first_leaf(states[i])[: self.strips] for i in shown]
        rows = [list(row) for row in zip(*columns, strict=True)]
        marks = [f"{times[i]:.2f}".rstrip("0").rstrip(".") or "0" for i in shown]
        png = self._page([("", rows)], [], marks)
        caption = "From noise (left) to data (right); the numbers above are times t."
        return [Figure("From noise to data", "image/png", png, caption)]

    def tiles(self, examples: Examples) -> list[Figure]:
        """Each image by itself, pixel for pixel, so that a page may enlarge it."""
        return [Figure("Image", "image/png", _png(self._tile(image))) for image in first_leaf(examples.x)]

    def _by_class(
        self, samples: Examples, real: Examples
    ) -> tuple[list[int], list[list[list[Tensor]]]] | None:
        if "label" not in samples.cond or samples.cond["label"].ndim != 1:
            return None
        classes = samples.cond["label"].unique(sorted=True).tolist()[: self.rows]
        sides = []
        for examples in (samples, real):
            images, labels = first_leaf(examples.x), examples.cond.get("label")
            if labels is None:
                sides.append(_cut(images[: self.rows * self.columns], self.columns))
            else:
                sides.append([list(images[labels == label][: self.columns]) for label in classes])
        return classes, sides

    def _name(self, label: int) -> str:
        return self.names[label] if label < len(self.names) else str(label)

    def _page(
        self, blocks: list[tuple[str, list[list[Tensor]]]], names: list[str], marks: Sequence[str] = ()
    ) -> bytes:
        """Lay out blocks of images from left to right, with row names at the left and words above."""
        example = blocks[0][1][0][0]
        factor = max(1, -(-self.pixels // example.shape[-1]))
        height, width = example.shape[-2] * factor, example.shape[-1] * factor
        gap = max(1, factor // 2)
        font = ImageFont.load_default(_TEXT)
        margin = round(max((font.getlength(name) for name in names), default=0)) + (8 if names else 0)
        head = _TEXT + 7 if marks or any(title for title, _ in blocks) else 0
        rows = max(len(block) for _, block in blocks)
        spans = [max(len(row) for row in block) * (width + gap) + gap for _, block in blocks]
        apart = 2 * _TEXT
        page = Image.new(
            "RGB",
            (margin + sum(spans) + apart * (len(blocks) - 1), head + rows * (height + gap) + gap),
            _PAPER,
        )
        pen = ImageDraw.Draw(page)
        for i, name in enumerate(names):
            middle = head + gap + i * (height + gap) + height // 2
            pen.text((margin - 6, middle), name, fill=_INK, font=font, anchor="rm")
        left = margin
        for (title, block), span in zip(blocks, spans, strict=True):
            pen.text((left + gap, head - 4), title, fill=_INK, font=font, anchor="ls")
            for i, mark in enumerate(marks):
                centre = left + gap + i * (width + gap) + width // 2
                pen.text((centre, head - 4), mark, fill=_INK, font=font, anchor="ms")
            for i, row in enumerate(block):
                for j, image in enumerate(row):
                    tile = self._tile(image).resize((width, height), Image.Resampling.NEAREST)
                    page.paste(tile, (left + gap + j * (width + gap), head + gap + i * (height + gap)))
            left += span + apart
        return _png(page)

    def _tile(self, image: Tensor) -> Image.Image:
        low, high = self.limits
        scaled = (image.detach().float().cpu() - low) / (high - low)
        # A value that is no number shows as black rather than stopping the report.
        levels = scaled.nan_to_num(0.0, 1.0, 0.0).clamp(0, 1).mul(255).round().to(torch.uint8)
        if levels.shape[0] == 3:
            return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
        return Image.fromarray(levels[0].contiguous().numpy()).convert("RGB")


def _cut(images: Tensor, columns: int) -> list[list[Tensor]]:
    return [list(row) for row in images.split(columns)]


def _png(page: Image.Image) -> bytes:
    buffer = io.BytesIO()
    page.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
