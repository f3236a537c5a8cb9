"""The rule that any packer has to beat: side chains of training residues with the same type and backbone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.baselines import Baseline
from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom_molecules.peptides.atoms import phi_psi
from flowloom_molecules.peptides.form import PARTS
from flowloom_molecules.peptides.quality import real_residues
from flowloom_molecules.peptides.residues import folded

__all__ = ["RotamerLibrary"]


class RotamerLibrary(Baseline):
    r"""Torsions of a training residue of the same type whose :math:`\phi, \psi` are among the nearest.

    A backbone-dependent rotamer library without bins (after Dunbrack and Karplus 1993): of the ``near``
    nearest in the chord distance of both angles, one at random. What else is not given is that of a random
    training peptide of as many residues: its types, its frames, about the same centre.

    Args:
        near: training residues among which one is drawn.
        most: training peptides that are looked at, evenly spread over all of them.
    """

    def __init__(self, near: int = 10, most: int = 5000) -> None:
        if near < 1 or most < 1:
            raise ValueError(f"near and most are 1 or more, got {near} and {most}")
        self.near, self.most = near, most
        self._train: Examples | None = None

    def fit(self, train: Dataset) -> None:
        """Keep training peptides."""
        if set(train.spec.parts) != set(PARTS):
            raise IncompatibleError(f"rotamer-library is of peptides; the data has {train.spec.in_words()}")
        # Evenly spread: rows of a file are often sorted.
        self._train = train.take(train.evenly(self.most)).laid_out(train.spec)

    def __call__(self, asked: Examples, generator: torch.Generator) -> Examples:
        """One answer for every row.

        Raises:
            IncompatibleError: it was not fitted.
        """
        if self._train is None:
            raise IncompatibleError("rotamer-library looks at training peptides; fit it first")
        here, layout = real_residues(asked), asked.layout or Layout()
        pool: Any = self._train.x
        size = real_residues(self._train).sum(1)
        chosen = torch.zeros(len(here), dtype=torch.long)
        for length in here.sum(1).unique().tolist():
            rows = (here.sum(1) == length).nonzero()[:, 0]
            some = (size == length).nonzero()[:, 0]
            some = some if len(some) else torch.arange(len(size))
            chosen[rows] = some[torch.randint(len(some), (len(rows),), generator=generator)]
        given: Any = asked.x
        found: dict[str, Tensor] = {}
        for part in PARTS:
            own, held = pool[part][chosen], layout.at(part).given
            found[part] = own if held is None else Layout(given=held, values=given[part]).hold(own)
        if layout.at("types").given is not None and layout.at("angles").given is None:
            found["angles"] = self._packed(found, here, generator)
        kept: Any = found
        return Examples(kept, asked.cond, asked.layout)

    def _packed(self, chain: dict[str, Tensor], here: Tensor, generator: torch.Generator) -> Tensor:
        assert self._train is not None
        pool: Any = self._train.x
        there = real_residues(self._train)
        places, kinds, torsions = _places(pool, there)[there], pool["types"][there], pool["angles"][there]
        wanted, angles = _places(chain, here), chain["angles"].clone()
        for kind in chain["types"][here].unique().tolist():
            rows = here & (chain["types"] == kind)
            some = (kinds == kind).nonzero()[:, 0]
            if not len(some):
                continue
            apart = torch.cdist(wanted[rows], places[some])
            near = apart.topk(min(self.near, len(some)), largest=False).indices
            one = torch.randint(near.shape[1], (len(near), 1), generator=generator)
            angles[rows] = torsions[some[near.gather(1, one)[:, 0]]]
        return folded(angles, chain["types"])


def _places(x: Any, there: Tensor) -> Tensor:
    """phi and psi as points on circles, ``(n, length, 4)``; an angle that an end lacks is at the centre."""
    phi, psi = phi_psi(x["pos"], x["rot"])
    both = (there[:, 1:] & there[:, :-1])[..., None]
    none = torch.zeros_like(there[:, :1, None], dtype=phi.dtype)
    none = none.expand(-1, -1, 2)
    waves = [torch.where(both, torch.stack([a.sin(), a.cos()], -1), 0.0) for a in (phi, psi)]
    return torch.cat([torch.cat([none, waves[0]], 1), torch.cat([waves[1], none], 1)], -1)
