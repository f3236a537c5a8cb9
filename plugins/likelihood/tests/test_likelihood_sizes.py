"""Recipes at the papers' sizes build on the meta device, with the papers' numbers of parameters."""

import pytest
import torch

from flowloom.spec import Spec
from flowloom_likelihood.dequantizers.flow import FlowDequantizer
from flowloom_likelihood.models import FlowPlusPlus, Jet, LinearFlow, StarFlow
from flowloom_registry.config.build import build
from flowloom_registry.config.recipe import load_recipe

IMAGES = """
import torch
from flowloom import Spec
from flowloom.data import Tensors


class Images(Tensors):
    def __init__(self, channels: int = 3, side: int = 32) -> None:
        shape = (channels, side, side)
        super().__init__(torch.zeros(2, *shape), spec=Spec(shape=shape, limits=(-1.0, 1.0)))
"""

JET_BLOCK = 4 * 512 + 4 * 512 * 512 + 4 * 512 + 8 * 512 * 512 + 5 * 512
JET_NET = 24 * 512 + 512 + 256 * 512 + 5 * JET_BLOCK + 2 * 512 + 512 * 48 + 48

SIZES = {
    "cifar10-flow-plus-plus": (3, 32, 31_443_440),  # 31.4M in the paper; the number is that of its code
    "mnist-ebflow": (1, 28, 1_230_880),  # 1.23M
    "cifar10-ebflow": (3, 32, 18_880_512),  # 18.88M
    "imagenet64-jet": (3, 64, 64 * JET_NET),  # counted layer by layer as the authors' code builds it
}


@pytest.mark.parametrize("name", SIZES)
def test_a_recipe_has_its_papers_size(name, tmp_path):
    channels, side, count = SIZES[name]
    file = tmp_path / "images.py"
    file.write_text(IMAGES)
    data = f"data={{use: '{file}:Images', channels: {channels}, side: {side}}}"
    with torch.device("meta"):
        built = build(load_recipe(name, overrides=[data]))
    parts = built["model"], built["objective"]
    assert sum(p.numel() for part in parts for p in part.parameters()) == count


SMALL = Spec((3, 8, 8))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: StarFlow(SMALL, patch=0), "patch must be at least 1"),
        (lambda: Jet(SMALL, patch=0), "patch must be at least 1"),
        (lambda: Jet(SMALL, heads=0), "heads must be at least 1"),
        (lambda: FlowPlusPlus(SMALL, ["checkerboard"], filters=6, heads=4), "6 filters"),
        (lambda: FlowPlusPlus(SMALL, ["checkerboard"], filters=4, blocks=-1), "got -1, 4 and 0"),
        (lambda: FlowPlusPlus(SMALL, ["checkerboard"], components=-1), "outputs must be at least 1"),
        (lambda: FlowDequantizer(SMALL, context=0), "context must be at least 1"),
        (lambda: LinearFlow(SMALL, kernel=-1), "odd and counts from 1"),
    ],
)
def test_sizes_that_cannot_be_are_told(made, told):
    """One line where the network is made: torch would speak of negative dimensions, or divide by 0."""
    with pytest.raises(ValueError, match=told):
        made()
