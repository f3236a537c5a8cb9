"""Types of residues as logits, and the straight path between noise and the corners of the simplex."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowloom.codecs import StateCodec
from flowloom.paths import AffinePath
from flowloom.paths.conversions import Kind
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom.state import State, Time, map_state
from flowloom_molecules.peptides.form import require_peptides
from flowloom_molecules.peptides.residues import LETTERS, folded

__all__ = ["LogitPath", "PeptideChart", "corners"]


def corners(types: Tensor, scale: float) -> Tensor:
    """Logits ``(..., 20)`` of type ids: ``scale`` at the type, ``-scale`` elsewhere."""
    hot = torch.nn.functional.one_hot(types.long().clamp(0, len(LETTERS) - 1), len(LETTERS))
    return scale * (2.0 * hot - 1.0)


class PeptideChart(StateCodec):
    r"""Types sent to logits :math:`k\,(2 e_s - 1)`, of which the softmax is all but a corner of the simplex.

    PepFlow (Li et al. 2406.00735), after SSD-LM (2210.17432). Read back, a type is the largest logit, frames
    are the nearest rotations, angles lie in ``[0, 2 pi)``, and torsions that the type lacks are 0.

    Args:
        spec: of peptides; injected from the recipe.
        scale: k.
    """

    def __init__(self, spec: Spec, scale: float = 5.0) -> None:
        super().__init__(spec)
        require_peptides(spec, "codec peptide-chart")
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be positive and finite, got {scale}")
        self.scale = scale

    @property
    def spec(self) -> Spec:
        """With ``types`` of shape ``(n, 20)``."""
        own = self.data_spec
        types = Spec((*own.parts["types"].shape, len(LETTERS)))
        given = {
            name: replace(one, shape=types.shape)
            if one.role == "values" and one.parts() == ("types",)
            else one
            for name, one in own.conditions.items()
        }
        return replace(own, parts={**own.parts, "types": types}, conditions=given)

    def encode_state(self, x: Any) -> State:
        """Types to logits."""
        return {**x, "types": corners(x["types"], self.scale).to(x["pos"].dtype)}

    def decode_state(self, x: Any) -> State:
        """Logits to types, and everything in the form of data."""
        types = x["types"].argmax(-1)
        u, _, vt = torch.linalg.svd(x["rot"].double())
        sign = torch.ones_like(u[..., 0, :])
        sign[..., -1] = torch.linalg.det(u @ vt).sign()
        rot = ((u * sign[..., None, :]) @ vt).to(x["rot"].dtype)
        return {**x, "rot": rot, "angles": folded(x["angles"], types), "types": types}

    def encode_conditions(self, cond: Any) -> Any:
        """Values of given types as logits."""
        named = [n for n, c in self.data_spec.conditions.items() if c.role == "values" and c.of == "types"]
        found = {n: corners(cond[n].long(), self.scale) for n in named if n in cond and cond[n].ndim == 2}
        return {**cond, **found}


class LogitPath(AffinePath):
    r"""Straight lines between logits that end on :math:`k\,(2 e_s - 1)`.

    A posterior over types is a prediction of the data: :math:`E[l_1] = k\,(2 p - 1)`.

    Args:
        scale: k, that of the codec.
    """

    def __init__(self, scale: float = 5.0) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be positive and finite, got {scale}")
        self.scale = scale

    def converted(
        self, value: State, x: State, t: Time, given: Kind, wanted: Kind, source: Source | None
    ) -> State:
        """As `AffinePath`, with corners at plus and minus k."""
        if given == "posterior":
            value = map_state(lambda logits: self.scale * (2 * torch.softmax(logits, -1) - 1), value)
            given = "data"
            if wanted == "data":
                return value
        return super().converted(value, x, t, given, wanted, source)
