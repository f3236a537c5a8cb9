"""The chart of FlowMM: angles on the whole line, elements as bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowloom.codecs import StateCodec
from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom.state import State

LOW, HIGH = 59.9, 120.1
"""Angles of Niggli cells lie in [60, 120] degrees; the chart is open."""


class LatticeChart(StateCodec):
    r"""Angles of Niggli cells sent to the line by the logit of their share of (59.9, 120.1) degrees.

    FlowMM (Miller et al. 2406.04713, section 3): flows of lattices then run in R^3 and never leave the
    cells that exist. With ``bits``, elements become analog bits, 7 numbers that are -1 or 1 (Chen et al.
    2208.04202), which are read back by their signs.

    Args:
        spec: of the data, with the parts ``angles`` and ``types``; injected from the recipe.
        bits: elements as bits, for flows that make them up.
    """

    width = 7

    def __init__(self, spec: Spec, bits: bool = False) -> None:
        super().__init__(spec)
        if not {"angles", "types"} <= set(spec.parts):
            raise IncompatibleError(
                f"codec lattice-chart is of cells with the parts angles and types; the data has "
                f"{', '.join(spec.parts) or 'one tensor'}"
            )
        self.bits = bits

    @property
    def spec(self) -> Spec:
        """With ``types`` of shape ``(atoms, 7)`` where they are bits."""
        if not self.bits:
            return self.data_spec
        types = Spec((*self.data_spec.parts["types"].shape, self.width))
        return replace(self.data_spec, parts={**self.data_spec.parts, "types": types})

    def encode_state(self, x: Any) -> State:
        """Degrees to logits, elements to bits."""
        share = ((x["angles"] - LOW) / (HIGH - LOW)).clamp(1e-4, 1 - 1e-4)
        types = self._bits_of(x["types"]).to(share.dtype) if self.bits else x["types"]
        return {**x, "angles": torch.logit(share), "types": types}

    def decode_state(self, x: Any) -> State:
        """Logits to degrees, bits to elements."""
        angles = LOW + (HIGH - LOW) * torch.sigmoid(x["angles"])
        return {**x, "angles": angles, "types": self._types_of(x["types"]) if self.bits else x["types"]}

    def _bits_of(self, types: Tensor) -> Tensor:
        places = torch.arange(self.width, device=types.device)
        return 2 * (types[..., None] >> places & 1) - 1

    def _types_of(self, bits: Tensor) -> Tensor:
        places = torch.arange(self.width, device=bits.device)
        ids = ((bits > 0).long() << places).sum(-1)
        vocab = self.data_spec.parts["types"].vocab
        return ids if vocab is None else ids.clamp_max(vocab - 1)
