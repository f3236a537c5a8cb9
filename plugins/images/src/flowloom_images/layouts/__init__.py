"""Layouts of pages and screens: typed boxes in no order (LayoutFlow, 2403.18187)."""

from flowloom_images.layouts.codec import LayoutCodec
from flowloom_images.layouts.metric import LayoutQuality, misalignment, overlap
from flowloom_images.layouts.objective import LayoutFlow
from flowloom_images.layouts.pages import Pages
from flowloom_images.layouts.stored import RICO, PubLayNet
from flowloom_images.layouts.task import ArrangeLayout
from flowloom_images.layouts.transformer import LayoutTransformer

__all__ = [
    "RICO",
    "ArrangeLayout",
    "LayoutCodec",
    "LayoutFlow",
    "LayoutQuality",
    "LayoutTransformer",
    "Pages",
    "PubLayNet",
    "misalignment",
    "overlap",
]
