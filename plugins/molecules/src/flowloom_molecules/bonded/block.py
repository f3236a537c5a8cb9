"""One layer of the graph transformer: atoms attend to atoms, pairs are part of the attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GraphBlock(nn.Module):
    r"""Attention among atoms that bonds steer, and that makes new bonds (DiGress, Vignac et al. 2209.14734).

    For every channel, with ``FiLM(a, b) = a W_1 + (a W_2 + 1) b``:

    .. math:: s_{ij} = \mathrm{FiLM}(e_{ij}, q_i k_j / \sqrt{d}), \quad
        e_{ij} \leftarrow \mathrm{FiLM}(y, s_{ij}) W_e, \quad
        x_i \leftarrow \mathrm{FiLM}(y, \textstyle\sum_j \mathrm{softmax}_j(s_{ij})\, v_j) W_x

    and ``y`` sees the mean, least, largest and standard deviation of both over what is real. Each of the
    three is added to its input and normed, then so is a network of two layers.

    Args:
        atoms: width of x.
        pairs: width of e.
        graph: width of y.
        heads: of the attention; scores being vectors, it only sets their scale, ``d = atoms / heads``.
        hidden: widths of the three networks, of x, e and y.
        dropout: of what is added.
        last: no y is made, which nothing would read.
    """

    def __init__(
        self,
        atoms: int,
        pairs: int,
        graph: int,
        heads: int,
        hidden: tuple[int, int, int],
        dropout: float = 0.0,
        last: bool = False,
    ) -> None:
        super().__init__()
        self.scale, self.dropout = (heads / atoms) ** 0.5, dropout
        self.q, self.k, self.v = (nn.Linear(atoms, atoms) for _ in range(3))
        self.by_pairs = nn.Linear(pairs, 2 * atoms)
        self.by_graph = nn.Linear(graph, 4 * atoms)
        self.to_atoms, self.to_pairs = nn.Linear(atoms, atoms), nn.Linear(atoms, pairs)
        self.rest = nn.ModuleDict(
            {"x": _Rest(atoms, hidden[0], dropout), "e": _Rest(pairs, hidden[1], dropout)}
        )
        self.graph: nn.ModuleDict | None = None
        if not last:
            out = nn.Sequential(nn.Linear(graph, graph), nn.ReLU(), nn.Linear(graph, graph))
            parts = {
                "y": nn.Linear(graph, graph),
                "x": nn.Linear(4 * atoms, graph),
                "e": nn.Linear(4 * pairs, graph),
            }
            self.graph = nn.ModuleDict({**parts, "out": out, "rest": _Rest(graph, hidden[2], dropout)})

    def forward(self, x: Tensor, e: Tensor, y: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """New values.

        Args:
            x: ``(batch, n, atoms)``.
            e: ``(batch, n, n, pairs)``.
            y: ``(batch, graph)``.
            real: which atoms exist, ``(batch, n)``.
        """
        both = real[:, :, None] & real[:, None, :]
        shift, factor = self.by_pairs(e).chunk(2, -1)
        score = self.scale * self.q(x)[:, :, None] * self.k(x)[:, None] * (factor + 1) + shift
        pair_shift, pair_factor, shift, factor = self.by_graph(y).chunk(4, -1)
        new_e = self.to_pairs(pair_shift[:, None, None] + (pair_factor[:, None, None] + 1) * score)
        # Rows of padding attend to everything, and are zeroed below: no row is empty.
        hidden = (real[:, :, None] & ~real[:, None, :])[..., None]
        attention = score.masked_fill(hidden, -torch.inf).softmax(2)
        seen = (attention * self.v(x)[:, None]).sum(2)
        new_x = self.to_atoms(shift[:, None] + (factor[:, None] + 1) * seen)
        if self.graph is not None:
            own = self.graph
            told = (
                own["y"](y)
                + own["x"](_summary(x, real))
                + own["e"](_summary(e.flatten(1, 2), both.flatten(1)))
            )
            y = own["rest"](y, own["out"](told))
        x = self.rest["x"](x, new_x) * real[..., None]
        e = self.rest["e"](e, new_e) * both[..., None]
        return x, e, y


class _Rest(nn.Module):
    """What follows an attention: the sum normed, a network of two layers, the sum normed."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.net = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        self.dropout = dropout

    def forward(self, x: Tensor, new: Tensor) -> Tensor:
        x = self.first(x + F.dropout(new, self.dropout, self.training))
        out: Tensor = self.second(x + F.dropout(self.net(x), self.dropout, self.training))
        return out


def _summary(values: Tensor, real: Tensor) -> Tensor:
    """Mean, least, largest, standard deviation over what is real: ``(batch, n, d)`` to ``(batch, 4 d)``."""
    count = real.sum(1, keepdim=True).clamp_min(1).to(values)
    kept = real[..., None]
    mean = torch.where(kept, values, 0.0).sum(1) / count
    off = torch.where(kept, values - mean[:, None], 0.0).square().sum(1) / count
    least = torch.where(kept, values, torch.inf).amin(1)
    most = torch.where(kept, values, -torch.inf).amax(1)
    some = real.any(1, keepdim=True)
    return torch.cat(
        [mean, torch.where(some, least, 0.0), torch.where(some, most, 0.0), (off + 1e-8).sqrt()], -1
    )
