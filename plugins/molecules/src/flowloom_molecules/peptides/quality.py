"""Whether drawn peptides are peptides: bonds, backbones, rotamers of their types, what the pocket faces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom.metrics.distances import energy_distance
from flowloom.spec import Spec
from flowloom_molecules.peptides.atoms import PEPTIDE_BOND, backbone, beta_direction, phi_psi
from flowloom_molecules.peptides.form import ABSENT, pocket_of, require_peptides
from flowloom_molecules.peptides.generated import PARTNERS, REACH
from flowloom_molecules.peptides.residues import LETTERS, TORSIONS, has_torsion, symmetric

__all__ = ["PeptideQuality", "real_residues"]

_BINS = 36


def real_residues(rows: Examples) -> Tensor:
    """Which residues exist, ``(n, length)``."""
    found = (rows.layout or Layout()).at("pos").real
    if found is None:
        found = rows.cond.get("residues")
    x: Any = rows.x
    return torch.ones(x["types"].shape, dtype=torch.bool) if found is None else found.bool()


class PeptideQuality(Metric):
    """Validity of peptides and how their parts go together, beside held-out ones.

    Args:
        spec: of the data; injected from the recipe.
        tolerance: of the length of a peptide bond, angstrom.
        most: pairs of backbone angles, and torsions of a type, that distances look at, evenly spread.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "bonds": "higher",
        "clashes": "lower",
        "ramachandran": "lower",
        "rotamers": "lower",
        "outliers": "lower",
        "facing": "higher",
    }
    about: ClassVar[Mapping[str, str]] = {
        "bonds": "share of neighbours with C and N a peptide bond apart",
        "clashes": "share of peptides with two CA, not neighbours, closer than 3.2 angstrom",
        "ramachandran": "energy distance of phi and psi, as points on two circles",
        "rotamers": "energy distance of the chis of a type, as points on circles, mean over residues",
        "outliers": "share of chis where fewer than 1 in 100 training chis of that type lie",
        "facing": "share of the pocket's residues that a residue faces whose type goes with theirs",
    }
    silent: ClassVar[str] = "there is no peptide of two residues"

    def __init__(self, spec: Spec, tolerance: float = 0.3, most: int = 2000) -> None:
        require_peptides(spec, "metric peptide-quality")
        if not 0 < tolerance < math.inf or most < 2:
            raise ValueError(
                f"tolerance is positive and finite, and most 2 or more, got {tolerance} and {most}"
            )
        self.tolerance, self.most = tolerance, most
        self.usual = torch.ones(len(LETTERS), TORSIONS, _BINS, dtype=torch.bool)

    def fit(self, train: Dataset) -> None:
        """Where the chis of every type lie in training, in bins of ten degrees."""
        # Evenly spread: rows of a file are often sorted.
        rows = train.take(train.evenly(10_000))
        x: Any = rows.x
        real = real_residues(rows)
        types, angles = x["types"][real], x["angles"][real]
        counts = torch.zeros(self.usual.shape)
        for k in range(1, TORSIONS):
            some = has_torsion(types)[:, k]
            place = (types[some], torch.full_like(types[some], k), _bin(angles[some, k]))
            counts.index_put_(place, torch.ones(int(some.sum())), accumulate=True)
        wide = counts + counts.roll(1, -1) + counts.roll(-1, -1)
        total = counts.sum(-1, keepdim=True)
        # What training has too little of to say is no outlier.
        self.usual = (wide >= 0.01 * total) | (total < 100)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Values by name; `facing` where there is a pocket."""
        self.require_rows(samples, real)
        there, truth = real_residues(samples), real_residues(real)
        x: Any = samples.x
        y: Any = real.x
        found = self._shape(x, there)
        mine, theirs = (self._thinned(_backbone_angles(*one)) for one in ((x, there), (y, truth)))
        if len(mine) > 1 and len(theirs) > 1:
            found["ramachandran"] = energy_distance(mine, theirs)
        types, angles = x["types"][there], x["angles"][there]
        has = has_torsion(types) & (torch.arange(TORSIONS) > 0)
        if has.any():
            k = torch.arange(TORSIONS).expand_as(has)[has]
            kinds = types[:, None].expand_as(has)[has]
            found["outliers"] = float((~self.usual[kinds, k, _bin(angles[has])]).double().mean())
        rotamers = self._rotamers(types, angles, y["types"][truth], y["angles"][truth])
        if rotamers is not None:
            found["rotamers"] = rotamers
        pocket = pocket_of(samples.cond)
        if pocket is not None:
            found["facing"] = _facing(x, there, pocket)
        return found

    def _shape(self, x: Any, there: Tensor) -> dict[str, float]:
        both = there[:, 1:] & there[:, :-1]
        atoms = backbone(x["pos"], x["rot"])
        bonds = (atoms[:, 1:, 0] - atoms[:, :-1, 2]).norm(dim=-1)
        good = (bonds - PEPTIDE_BOND).abs() <= self.tolerance
        n = there.shape[1]
        apart = torch.cdist(x["pos"].double(), x["pos"].double())
        far = torch.ones(n, n, dtype=torch.bool).triu(2)
        near = (apart < 3.2) & far & there[:, :, None] & there[:, None]
        found = {"clashes": float(near.flatten(1).any(1).double().mean())}
        if both.any():
            found["bonds"] = float(good[both].double().mean())
        return found

    def _thinned(self, values: Tensor) -> Tensor:
        """At most ``most`` of them, evenly spread: rows may be sorted."""
        count = min(len(values), self.most)
        return values[torch.arange(count) * len(values) // max(count, 1)]

    def _rotamers(self, types: Tensor, angles: Tensor, real: Tensor, truth: Tensor) -> float | None:
        total = weight = 0.0
        for kind in range(len(LETTERS)):
            a, b = (_circles(self._thinned(v[t == kind]), kind) for v, t in ((angles, types), (truth, real)))
            if min(len(a), len(b)) < 5 or not a.shape[1]:
                continue
            total, weight = total + len(b) * energy_distance(a, b), weight + len(b)
        return total / weight if weight else None


def _bin(angles: Tensor) -> Tensor:
    return (angles.remainder(2 * math.pi) / (2 * math.pi) * _BINS).long().clamp_max(_BINS - 1)


def _backbone_angles(x: Any, there: Tensor) -> Tensor:
    """phi and psi of inner residues as points on circles, ``(m, 4)``."""
    if there.shape[1] < 3:
        return torch.zeros(0, 4)
    phi, psi = phi_psi(x["pos"], x["rot"])
    inner = (there[:, 2:] & there[:, 1:-1]) & there[:, :-2]
    both = torch.stack([phi[:, :-1], psi[:, 1:]], -1)[inner]
    return torch.cat([both.sin(), both.cos()], -1)


def _circles(angles: Tensor, kind: int) -> Tensor:
    """The chis of residues of one type as points on circles; those alike after half a turn go round twice."""
    own = torch.tensor(kind)
    chosen = has_torsion(own) & (torch.arange(TORSIONS) > 0)
    turned = angles * torch.where(symmetric(own), 2.0, 1.0)
    some = turned[:, chosen]
    return torch.cat([some.sin(), some.cos()], -1)


def _facing(x: Any, there: Tensor, pocket: Mapping[str, Tensor]) -> float:
    ahead = x["pos"] + REACH * beta_direction(x["rot"])
    near = torch.cdist(pocket["pos"].double(), ahead.double()) < 3.0
    exists = pocket["types"] != ABSENT
    fits = PARTNERS[x["types"][:, None], pocket["types"].clamp_max(len(LETTERS) - 1)[:, :, None]]
    met = (near & fits & there[:, None]).any(2)
    return float(met[exists].double().mean()) if exists.any() else 0.0
