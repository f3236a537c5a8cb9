"""The network of PepFlow: frames, torsions and types of a peptide beside the residues of a pocket."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import withheld
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.encoder import EncoderBlock
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import Cond, State
from flowloom.symmetries import Moved, Period, Rotation, Translation
from flowloom_molecules.peptides.attention import FrameUpdate, InvariantPointAttention, PairUpdate
from flowloom_molecules.peptides.form import ABSENT, PARTS, POCKET, pocket_of, require_peptides
from flowloom_molecules.peptides.residues import LETTERS, TORSIONS

__all__ = ["FrameRotation", "PeptideNet"]

_FAR = 32
"""Residues further apart along the chain than this are told apart no more."""


@dataclass(frozen=True)
class FrameRotation(Rotation):
    """All frames turn about the origin, those of the pocket too: rows of places, and frames from the left."""

    def moved(self, x: State, cond: Cond, spec: Spec, generator: torch.Generator) -> Moved:
        """Turned; angles and types stay."""
        assert isinstance(x, dict)
        shape = (len(cond["residues"]), 3, 3)
        turn, upper = torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64))
        turn = turn * upper.diagonal(dim1=-2, dim2=-1).sign()[:, None]
        turn[:, 0] = turn[:, 0] * torch.linalg.det(turn).sign()[:, None]

        def turned(state: Any, prefix: str = "") -> Any:
            pos, rot = f"{prefix}pos", f"{prefix}rot"
            if pos not in state:
                return state
            q = turn.to(state[pos])
            return {**state, pos: state[pos] @ q, rot: q.mT[:, None] @ state[rot]}

        return Moved(turned(x), turned(cond, "pocket_"), turned)


class PeptideNet(nn.Module):
    r"""Predicts the clean peptide: where frames end, torsions, and logits of types (PepFlow, 2406.00735).

    Residues of peptide and pocket are tokens in frames. Each round is invariant point attention, a
    transformer along the chain, a transition, a turn and shift of every frame, and an update of pairs, as in
    FrameDiff (2302.02277). The centre of the peptide is taken out of what goes in, and its data are about
    their centre: no shift of the peptide changes an answer. Turning peptide and pocket turns the frames that
    come out and nothing else. Types are read as the softmax of their logits.

    Args:
        spec: of the states, with types as logits.
        width: of residues.
        pair: width of pairs.
        depth: rounds.
        heads: of point attention.
        hidden: of each head.
        points: of queries and keys in space, for each head.
        values: points that each head carries.
        tokens: heads of the transformer along the chain.
        layers: of that transformer, each round.
        harmonics: of the torsions.
        project: turn what goes in into the nearest rotations; for flows that leave SO(3).
    """

    conditional = True

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
        super().__init__()
        require_sizes(
            width=width, pair=pair, depth=depth, heads=heads, hidden=hidden, points=points, values=values
        )
        require_peptides(spec, "model peptide-net")
        if spec.parts["types"].vocab is not None:
            raise IncompatibleError("model peptide-net reads types as logits; give codec: peptide-chart")
        if width % tokens or pair % 4:
            raise ValueError(f"width {width} must be a multiple of tokens {tokens}, and pair {pair} of 4")
        self.spec, self.harmonics, self.project = spec, harmonics, project
        self.symmetries = (FrameRotation(), Translation(("pos",)), Period(("angles",), 2 * math.pi))
        pocket = POCKET[0] in spec.conditions
        self.types = nn.Linear(len(LETTERS), width, bias=False)
        self.inside = nn.Embedding(2, width) if pocket else None
        self.time = TimeEmbedding(width)
        others = {name: one for name, one in spec.conditions.items() if name not in POCKET}
        self.condition = ConditionEmbedding(others, width)
        self.held = nn.Linear(len(PARTS), width, bias=False) if spec.named("given") else None
        self.mix = _mlp(2 * width + 2 * harmonics * TORSIONS, width, width)
        self.apart = nn.Embedding(2 * _FAR + 1 + pocket, pair)
        self.couple = _mlp(pair + 2 * width, pair, pair)
        self.rounds = nn.ModuleList(
            _Round(width, pair, (hidden, heads, points, values), tokens, layers, last=i == depth - 1)
            for i in range(depth)
        )
        self.read_types = _mlp(width, width, len(LETTERS))
        self.read_angles = _mlp(width, width, TORSIONS)

    def forward(self, x: Any, t: Tensor, /, **cond: Tensor) -> Any:
        """Where frames end, torsions in ``[0, 2 pi)``, and logits of types."""
        layout = Layout.of(self.spec, cond)
        x = x if layout is None else layout.zero(x)
        real = self._real(layout, x["pos"])
        share = (real.to(x["pos"]) / real.sum(1, keepdim=True).clamp_min(1))[..., None]
        pos = torch.where(real[..., None], x["pos"] - (share * x["pos"]).sum(1, keepdim=True), 0.0)
        rot = _nearest_rotation(x["rot"]) if self.project else x["rot"]
        told = self.time(t) + self.condition(cond, len(pos))
        n, chain = (
            pos.shape[1],
            {"pos": pos, "rot": rot, "angles": x["angles"], "types": x["types"].softmax(-1)},
        )
        all_, exists = self._beside(chain, real, cond)
        single = self._tokens(all_, told, n)
        if self.held is not None:
            single = single + torch.cat(
                [self.held(self._marks(layout, pos)), torch.zeros_like(single[:, n:])], 1
            )
        pair = self._pairs(single, n)
        pos, rot = all_["pos"], all_["rot"]
        for layer in self.rounds:
            single, pair, pos, rot = layer(single, pair, pos, rot, exists)
        single = single[:, :n]
        angles = self.read_angles(single).remainder(2 * math.pi)
        found = {"pos": pos[:, :n], "rot": rot[:, :n], "angles": angles, "types": self.read_types(single)}
        return found if layout is None else layout.zero(found)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An objective that takes the answer for something else."""
        kind = getattr(parts.get("objective"), "kind", None)
        wanted = {"pos": "data", "rot": "data", "angles": "data", "types": "posterior"}
        if kind is not None and (not isinstance(kind, Mapping) or dict(kind) != wanted):
            yield Clash(
                "model",
                "objective",
                f"peptide-net answers with data, and with a posterior of types; the objective reads {kind}; "
                "use objective: pepflow",
            )

    def _real(self, layout: Layout | None, pos: Tensor) -> Tensor:
        own = None if layout is None else layout.at("pos").real
        return torch.ones(pos.shape[:2], dtype=torch.bool, device=pos.device) if own is None else own

    def _beside(
        self, chain: dict[str, Tensor], real: Tensor, cond: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Residues of peptide and pocket in one line, and which exist."""
        pocket = pocket_of(cond) if self.inside is not None else None
        if pocket is None:
            return chain, real
        there = pocket["types"] != ABSENT
        for name in POCKET:
            off = withheld(cond, name)
            there = there if off is None else there & ~off[:, None]
        hot = nn.functional.one_hot(pocket["types"].clamp(0, len(LETTERS)), len(LETTERS) + 1)[..., :-1]
        told = {**pocket, "types": hot.to(chain["pos"].dtype)}
        clear = {
            k: torch.where(there.reshape(*there.shape, *(1,) * (v.ndim - 2)), v, 0.0) for k, v in told.items()
        }
        return {k: torch.cat([chain[k], clear[k]], 1) for k in PARTS}, torch.cat([real, there], 1)

    def _tokens(self, residues: Mapping[str, Tensor], told: Tensor, n: int) -> Tensor:
        turns = torch.arange(1, self.harmonics + 1, device=told.device) * residues["angles"][..., None]
        waves = torch.cat([turns.sin(), turns.cos()], -1).flatten(2)
        kinds = self.types(residues["types"])
        if self.inside is not None:
            side = (torch.arange(kinds.shape[1], device=told.device) >= n).long()
            kinds = kinds + self.inside(side)
        mixed: Tensor = self.mix(torch.cat([kinds, told[:, None].expand_as(kinds), waves.to(kinds)], -1))
        return mixed

    def _pairs(self, single: Tensor, n: int) -> Tensor:
        place = torch.arange(single.shape[1], device=single.device)
        apart = (place[:, None] - place).clamp(-_FAR, _FAR) + _FAR
        own = (place < n)[:, None] & (place < n)
        along = self.apart(torch.where(own, apart, 2 * _FAR + 1) if single.shape[1] > n else apart)
        both = torch.broadcast_tensors(single[:, :, None], single[:, None])
        pairs: Tensor = self.couple(torch.cat([along.expand(len(single), -1, -1, -1), *both], -1))
        return pairs

    def _marks(self, layout: Layout | None, pos: Tensor) -> Tensor:
        none = torch.zeros(pos.shape[:2], dtype=torch.bool, device=pos.device)
        marks = [none if layout is None or layout.at(k).given is None else layout.at(k).given for k in PARTS]
        return torch.stack(marks, -1).to(pos.dtype)


class _Round(nn.Module):
    def __init__(
        self, width: int, pair: int, sizes: tuple[int, int, int, int], heads: int, layers: int, last: bool
    ) -> None:
        super().__init__()
        self.points, self.norm = InvariantPointAttention(width, pair, *sizes), nn.LayerNorm(width)
        self.chain = nn.ModuleList(EncoderBlock(width, heads, hidden=width) for _ in range(layers))
        self.after = nn.Linear(width, width)
        nn.init.zeros_(self.after.weight)
        self.transition, self.second = _mlp(width, width, width), nn.LayerNorm(width)
        self.move = FrameUpdate(width)
        self.pairs = None if last else PairUpdate(width, pair)

    def forward(
        self, single: Tensor, pair: Tensor, pos: Tensor, rot: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        single = self.norm(single + self.points(single, pair, pos, rot, real))
        along = single
        for block in self.chain:
            along = block(along, seen=real[:, None, None])
        single = single + self.after(along)
        single = self.second(single + self.transition(single))
        pos, rot = self.move(single, pos, rot)
        return single, pair if self.pairs is None else self.pairs(single, pair), pos, rot


def _mlp(into: int, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(into, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out)
    )


def _nearest_rotation(x: Tensor) -> Tensor:
    u, _, vt = torch.linalg.svd(x.detach())
    sign = torch.ones_like(u[..., 0, :])
    sign[..., -1] = torch.linalg.det(u @ vt).sign()
    return (u * sign[..., None, :]) @ vt
