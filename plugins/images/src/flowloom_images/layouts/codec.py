"""Typed boxes as real numbers: boxes to [-1, 1], types to analog bits."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowloom.codecs import StateCodec
from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom.state import State


class LayoutCodec(StateCodec):
    r"""Real-valued states of layouts, as LayoutFlow has them (2403.18187).

    Positions and sizes go from [0, 1] to [-1, 1]. A type k becomes its binary digits as -1 and 1 (analog
    bits, Chen et al. 2208.04202), of which there are :math:`\lceil\log_2 K\rceil`; decoding rounds each bit
    by its sign, and codes beyond the last type to the last type.

    Args:
        spec: of the data, with a part of tokens; injected from the recipe.

    Raises:
        IncompatibleError: the data have no parts.
    """

    powers: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        if not spec.parts or all(leaf.vocab is None for leaf in spec.parts.values()):
            raise IncompatibleError("codec layout is for states with parts, of which one holds types")
        vocab = max(leaf.vocab or 0 for leaf in spec.parts.values())
        self.bits = max(1, math.ceil(math.log2(vocab)))
        self.register_buffer("powers", 2 ** torch.arange(self.bits), persistent=False)

    @property
    def spec(self) -> Spec:
        """Of the states: all parts real, types ``(elements, bits)``."""
        parts = {
            name: Spec(leaf.shape, limits=(-1.0, 1.0))
            if leaf.vocab is None
            else Spec((*leaf.shape, self.bits), limits=(-1.0, 1.0))
            for name, leaf in self.data_spec.parts.items()
        }
        return replace(self.data_spec, parts=parts)

    def encode_state(self, x: Any) -> State:
        """Part by part."""
        return {name: self._encoded(value) for name, value in x.items()}

    def decode_state(self, x: Any) -> State:
        """Part by part; boxes may leave the page."""
        return {name: self._decoded(value, self.data_spec.parts[name]) for name, value in x.items()}

    def _encoded(self, value: Tensor) -> Tensor:
        if value.is_floating_point():
            return 2 * value - 1
        digits = (value[..., None] // self.powers) % 2
        return 2 * digits.to(torch.get_default_dtype()) - 1

    def _decoded(self, value: Tensor, leaf: Spec) -> Tensor:
        if leaf.vocab is None:
            return (value + 1) / 2
        return ((value > 0) * self.powers).sum(-1).clamp_max(leaf.vocab - 1)
