"""What a joint flow is to be compared with: backbone, torsions and types by networks that never meet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowloom.spec import Spec
from flowloom_molecules.peptides.network import PeptideNet

__all__ = ["SeparateNets"]


class SeparateNets(PeptideNet):
    """Three networks of the same size: frames see frames and the pocket, torsions torsions, types types.

    Those of torsions and types see what the pocket is made of, and not where it stands, which without frames
    of the peptide would mean nothing. Arguments are those of `PeptideNet`, for each of the three.

    Args:
        spec: see `PeptideNet`.
        width: see `PeptideNet`.
        pair: see `PeptideNet`.
        depth: see `PeptideNet`.
        heads: see `PeptideNet`.
        hidden: see `PeptideNet`.
        points: see `PeptideNet`.
        values: see `PeptideNet`.
        tokens: see `PeptideNet`.
        layers: see `PeptideNet`.
        harmonics: see `PeptideNet`.
        project: see `PeptideNet`.
    """

    def __init__(
        self,
        spec: Spec,
        width: int = 64,
        pair: int = 32,
        depth: int = 3,
        heads: int = 4,
        hidden: int = 16,
        points: int = 4,
        values: int = 6,
        tokens: int = 4,
        layers: int = 1,
        harmonics: int = 3,
        project: bool = False,
    ) -> None:
        sizes = (width, pair, depth, heads, hidden, points, values, tokens, layers, harmonics)
        super().__init__(spec, *sizes, project=project)
        self.torsions, self.sequence = PeptideNet(spec, *sizes), PeptideNet(spec, *sizes)
        # What is not asked of a network does not learn.
        self.read_angles, self.read_types = nn.Sequential(), nn.Sequential()
        self.torsions.read_types, self.sequence.read_angles = nn.Sequential(), nn.Sequential()
        for one in (self.torsions, self.sequence):
            one.rounds[-1].move = _Still()

    def forward(self, x: Any, t: Tensor, /, **cond: Tensor) -> Any:
        """Each part by its own network."""
        hidden = {
            "pos": torch.zeros_like(x["pos"]),
            "rot": torch.eye(3).to(x["rot"]).expand_as(x["rot"]),
            "angles": torch.zeros_like(x["angles"]),
            "types": torch.zeros_like(x["types"]),
        }
        nowhere = dict(cond)
        if "pocket_pos" in cond:
            nowhere["pocket_pos"] = torch.zeros_like(cond["pocket_pos"])
            nowhere["pocket_rot"] = torch.eye(3).to(cond["pocket_rot"]).expand_as(cond["pocket_rot"])
        frames = super().forward({**hidden, "pos": x["pos"], "rot": x["rot"]}, t, **cond)
        angles = self.torsions({**hidden, "angles": x["angles"]}, t, **nowhere)["angles"]
        types = self.sequence({**hidden, "types": x["types"]}, t, **nowhere)["types"]
        return {"pos": frames["pos"], "rot": frames["rot"], "angles": angles, "types": types}


class _Still(nn.Module):
    def forward(self, single: Tensor, pos: Tensor, rot: Tensor) -> tuple[Tensor, Tensor]:
        return pos, rot
