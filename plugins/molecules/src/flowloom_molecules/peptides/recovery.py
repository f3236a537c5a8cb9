"""How much of the true peptide comes back: types, backbone, frames, side-chain torsions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.layout import Layout
from flowloom.metrics.paired import PairedMetric
from flowloom.metrics.pairs import drawn_rows
from flowloom.spec import Spec
from flowloom_molecules.aligned import kabsch
from flowloom_molecules.peptides.form import require_peptides
from flowloom_molecules.peptides.quality import real_residues
from flowloom_molecules.peptides.residues import TORSIONS, has_torsion, symmetric

__all__ = ["PeptideRecovery", "chi_errors"]


def chi_errors(angles: Tensor, truth: Tensor, types: Tensor) -> Tensor:
    """Absolute differences in degrees, ``(..., 5)``, the shorter way round; of half turns where they tell."""
    period = torch.where(symmetric(types), math.pi, 2 * math.pi)
    way = angles - truth
    return torch.rad2deg((way - period * torch.round(way / period)).abs())


class PeptideRecovery(PairedMetric):
    """Draws beside the peptide that the same question was asked about; what is given is not judged.

    Args:
        spec: of the data; injected from the recipe.
        draws: answers to every question.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "recovery": "higher",
        "rmsd": "lower",
        "rmsd_in_place": "lower",
        "frame_error": "lower",
        "chi_error": "lower",
        "chi_within_20": "higher",
    }
    about: ClassVar[Mapping[str, str]] = {
        "recovery": "share of residues whose type is that of the truth",
        "rmsd": "root mean square distance of CA after superposition (Kabsch), angstrom, mean over peptides",
        "rmsd_in_place": "the same without superposition, in the frame of the pocket",
        "frame_error": "mean angle between frames and those of the truth, degrees",
        "chi_error": "mean absolute error of chi 1 to 4 where the type is right, degrees",
        "chi_within_20": "share of these chis that are within 20 degrees",
    }
    silent: ClassVar[str] = "all that it judges was given, or no residue has the right type"

    def __init__(self, spec: Spec, draws: int = 1) -> None:
        super().__init__(draws)
        require_peptides(spec, "metric peptide-recovery")

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Values by name, over all draws."""
        self.require_rows(samples, real)
        y: Any = real.x
        here, layout = real_residues(real), real.layout or Layout()
        free = {k: here & ~g if (g := layout.at(k).given) is not None else here for k in y}
        found: dict[str, list[Tensor]] = {}
        for one in drawn_rows(samples, real):
            for name, value in _compared(one.x, y, here, free).items():
                found.setdefault(name, []).append(value)
        return {name: float(torch.cat(v).mean()) for name, v in found.items() if sum(map(len, v))}


def _compared(x: Any, y: Any, here: Tensor, free: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Judged numbers by name, each one dimension."""
    right = x["types"] == y["types"]
    chi = has_torsion(y["types"]) & (torch.arange(TORSIONS) > 0)
    counted = chi & (right & free["angles"])[..., None]
    errors = chi_errors(x["angles"], y["angles"], y["types"])[counted].double()
    rows = free["pos"].any(1)
    weight = here[rows].double()
    a, b = (torch.where(here[..., None], one["pos"], 0.0)[rows].double() for one in (x, y))
    cos = 0.5 * ((x["rot"] * y["rot"]).sum((-2, -1)) - 1)
    turns = torch.rad2deg(cos.clamp(-1, 1).acos())[free["rot"]].double()
    return {
        "recovery": right[free["types"]].double(),
        "rmsd": _rms(kabsch(_centred(a, weight), b, weight), _centred(b, weight), weight),
        "rmsd_in_place": _rms(a, b, weight),
        "frame_error": turns,
        "chi_error": errors,
        "chi_within_20": (errors <= 20).double(),
    }


def _centred(a: Tensor, weight: Tensor) -> Tensor:
    share = weight / weight.sum(1, keepdim=True).clamp_min(1)
    return a - (share[..., None] * a).sum(1, keepdim=True)


def _rms(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    squares = torch.where(weight > 0, (a - b).square().sum(-1), 0.0)
    return (squares.sum(1) / weight.sum(1).clamp_min(1)).sqrt()
