"""Attention among residues that see each other's points in their own frames."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

__all__ = ["FrameUpdate", "InvariantPointAttention", "PairUpdate"]


class InvariantPointAttention(nn.Module):
    r"""Invariant point attention (Jumper et al. 2021, supplement, algorithm 22).

    .. math:: a_{ij} = \mathrm{softmax}_j\Big(\sqrt{\tfrac13}\Big(\frac{q_i \cdot k_j}{\sqrt c} + b_{ij} -
        \frac{\gamma}{2}\sqrt{\tfrac{2}{9 P}} \sum_p |T_i \vec q_i^p - T_j \vec k_j^p|^2\Big)\Big)

    with frames :math:`T_i y = R_i y + x_i`; the points that arrive are read in the frame of the residue. No
    motion of all frames together changes the answer.

    Args:
        width: of residues.
        pair: width of pairs.
        hidden: of each head.
        heads: of the attention.
        points: queries and keys in space, for each head.
        values: points that each head carries.
    """

    def __init__(self, width: int, pair: int, hidden: int, heads: int, points: int, values: int) -> None:
        super().__init__()
        self.heads, self.points, self.values, self.hidden = heads, points, values, hidden
        self.query = nn.Linear(width, heads * hidden)
        self.key_value = nn.Linear(width, 2 * heads * hidden)
        self.query_points = nn.Linear(width, heads * points * 3)
        self.key_value_points = nn.Linear(width, heads * (points + values) * 3)
        self.bias = nn.Linear(pair, heads)
        self.narrow = nn.Linear(pair, pair // 4)
        # softplus of it is 1.
        self.gamma = nn.Parameter(torch.full((heads,), math.log(math.e - 1)))
        self.out = nn.Linear(heads * (hidden + pair // 4 + values * 4), width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, single: Tensor, pair: Tensor, pos: Tensor, rot: Tensor, real: Tensor) -> Tensor:
        """What each residue hears, ``(batch, n, width)``.

        Args:
            single: residues ``(batch, n, width)``.
            pair: pairs ``(batch, n, n, pair)``.
            pos: origins ``(batch, n, 3)``.
            rot: frames ``(batch, n, 3, 3)``.
            real: which residues exist, ``(batch, n)``.
        """
        h = self.heads
        q = self.query(single).unflatten(-1, (h, self.hidden))
        k, v = self.key_value(single).unflatten(-1, (h, 2, self.hidden)).unbind(3)
        qp = self._placed(self.query_points(single), pos, rot)
        kp, vp = self._placed(self.key_value_points(single), pos, rot).split([self.points, self.values], 3)
        like = torch.einsum("bihc,bjhc->bhij", q, k) / math.sqrt(self.hidden) + self.bias(pair).permute(
            0, 3, 1, 2
        )
        squares = (qp[:, :, None] - kp[:, None]).square().sum((-2, -1))
        weight = 0.5 * math.sqrt(2 / (9 * self.points)) * softplus(self.gamma)
        logits = math.sqrt(1 / 3) * (like - (weight * squares).permute(0, 3, 1, 2))
        logits = logits.masked_fill(~real[:, None, None], -1e9)
        a = logits.softmax(-1)
        heard = torch.einsum("bhij,bjhc->bihc", a, v)
        there = torch.einsum("bhij,bjhpx->bihpx", a, vp)
        own = (there - pos[:, :, None, None]) @ rot[:, :, None]  # R^T (y - x), as rows
        far = (own.square().sum(-1) + 1e-8).sqrt()
        seen = torch.einsum("bhij,bijc->bihc", a, self.narrow(pair))
        parts = [heard.flatten(2), own.flatten(2), far.flatten(2), seen.flatten(2)]
        answer: Tensor = self.out(torch.cat(parts, -1))
        return answer

    def _placed(self, local: Tensor, pos: Tensor, rot: Tensor) -> Tensor:
        """Points of every residue's own frame in space: ``(b, n, heads, points, 3)``."""
        each = local.shape[-1] // (3 * self.heads)
        points = local.unflatten(-1, (self.heads, each, 3)).to(pos.dtype)
        with torch.autocast(pos.device.type, enabled=False):
            return points @ rot.mT[:, :, None] + pos[:, :, None, None]


class FrameUpdate(nn.Module):
    """A turn and a shift of every frame, told in that frame (algorithm 23): quaternion ``(1, b, c, d)``.

    Args:
        width: of residues.
    """

    cross: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, 6)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        cross = torch.linalg.cross(torch.eye(3)[:, None], torch.eye(3)[None], dim=-1)
        self.register_buffer("cross", cross.mT.reshape(3, 9), persistent=False)

    def forward(self, single: Tensor, pos: Tensor, rot: Tensor) -> tuple[Tensor, Tensor]:
        """The frames moved."""
        turn, shift = self.out(single).to(pos.dtype).split(3, -1)
        # Frames keep their digits under autocast, which would round every product of matrices.
        with torch.autocast(pos.device.type, enabled=False):
            # The rotation of (1, v): I + 2 ([v] + [v]^2) / (1 + |v|^2), with [v] y = v x y.
            skew = (turn @ self.cross.to(turn)).unflatten(-1, (3, 3))
            size = 2 / (1 + turn.square().sum(-1))[..., None, None]
            own = torch.eye(3, dtype=pos.dtype, device=pos.device) + size * (skew + skew @ skew)
            return pos + (rot @ shift[..., None]).squeeze(-1), rot @ own


class PairUpdate(nn.Module):
    """Pairs told by both residues (the edge update of FrameDiff, Yim et al. 2302.02277).

    Args:
        width: of residues.
        pair: width of pairs.
    """

    def __init__(self, width: int, pair: int) -> None:
        super().__init__()
        hidden = 2 * (width // 2) + pair
        self.narrow = nn.Linear(width, width // 2)
        self.trunk = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.out, self.norm = nn.Linear(hidden, pair), nn.LayerNorm(pair)

    def forward(self, single: Tensor, pair: Tensor) -> Tensor:
        """Pairs ``(batch, n, n, pair)``."""
        told, n = self.narrow(single), single.shape[1]
        both = [told[:, :, None].expand(-1, -1, n, -1), told[:, None].expand(-1, n, -1, -1)]
        joined = torch.cat([pair, *both], -1)
        answer: Tensor = self.norm(self.out(self.trunk(joined) + joined))
        return answer
