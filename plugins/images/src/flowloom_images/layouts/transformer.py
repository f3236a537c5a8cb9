"""LayoutFlow's network: a transformer over elements that have no order."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding
from flowloom.models.attention import attend
from flowloom.spec import Spec
from flowloom.state import State, Time


class LayoutTransformer(nn.Module):
    """The LayoutDM backbone as LayoutFlow trains it (2403.18187): elements attend to each other, without
    positions.

    Box and type of an element are embedded apart, each beside how much of it is free, and joined. Every
    block is adaptive layer norm (time through a network of its own), attention, layer norm and a
    feed-forward network. Unlike the released code it does not attend to padding, which is no part of a
    layout.

    Args:
        spec: of the states: ``position``, ``size`` and ``types`` of elements, all real.
        width: of elements within the blocks; the paper's 512.
        depth: number of blocks; the paper's 4.
        heads: of the attention; the paper's 8.
        hidden: width of the feed-forward networks; the paper's 2048.
        embed: width of the embeddings of box and type; the paper's 128.
        dropout: after attention and feed-forward, in training.

    Raises:
        IncompatibleError: states have other parts, or tokens.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 512,
        depth: int = 4,
        heads: int = 8,
        hidden: int = 2048,
        embed: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if set(spec.parts) != {"position", "size", "types"} or any(p.vocab for p in spec.parts.values()):
            raise IncompatibleError(
                "layout-transformer reads position, size and types as real numbers; use codec: layout"
            )
        if width % heads:
            raise IncompatibleError(f"width {width} must divide into {heads} heads")
        self.spec, self.bits = spec, spec.parts["types"].shape[-1]
        self.of_box, self.of_type = nn.Linear(4, embed), nn.Linear(self.bits, embed)
        # One table for both, as released: how many of a box's four numbers are free, and whether a type is.
        self.free = nn.Embedding(6, embed)
        self.join = nn.Linear(2 * embed, width)
        self.condition = ConditionEmbedding(spec.conditions, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 4 + self.bits)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> dict[str, Tensor]:
        """Parts ``(B, N, 2)``, ``(B, N, 2)`` and ``(B, N, bits)`` at times ``(B,)``, and answers alike."""
        assert isinstance(x, dict) and isinstance(t, Tensor)
        layout = Layout.of(self.spec, cond)
        clean: dict[str, Tensor] = x if layout is None else layout.zero(x)  # type: ignore[assignment]
        box = torch.cat([clean["position"], clean["size"]], -1)
        free = {name: self._free(name, layout, box) for name in self.spec.parts}
        of_box = self.of_box(box) + self.free(2 * (free["position"] + free["size"]))
        of_type = self.of_type(clean["types"]) + self.free(free["types"])
        told = self.condition(cond, len(box))
        hidden = self.join(torch.cat([of_box, of_type], -1))
        if isinstance(told, Tensor):
            hidden = hidden + told[:, None]
        real = None if layout is None else layout.at("position").real
        # A row of padding alone would attend to nothing, which is NaN.
        seen = None if real is None else (real | ~real.any(1, keepdim=True))[:, None, None]
        for block in self.blocks:
            hidden = block(hidden, t, seen)
        position, size, types = self.out(self.norm(hidden)).split([2, 2, self.bits], -1)
        answer = {"position": position, "size": size, "types": types}
        return answer if layout is None else layout.zero(answer)

    def _free(self, name: str, layout: Layout | None, box: Tensor) -> Tensor:
        """1 where the part of an element is free, 0 where it is given: ``(B, N)``."""
        given = None if layout is None else layout.at(name).given
        shape = box.shape[:2]
        return torch.ones(shape, dtype=torch.long, device=box.device) if given is None else (~given).long()


class Block(nn.Module):
    """Attention behind an adaptive norm, feed-forward behind a plain one.

    Args:
        width: of elements.
        heads: of the attention.
        hidden: of the feed-forward network.
        dropout: after each branch, and within.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.time = nn.Sequential(nn.Linear(1, width // 2), nn.ReLU(), nn.Linear(width // 2, width))
        self.modulate = nn.Linear(width, 2 * width)
        self.first = nn.LayerNorm(width, elementwise_affine=False)
        self.second = nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor, t: Tensor, seen: Tensor | None) -> Tensor:
        """Elements ``(B, N, width)``, times ``(B,)``; ``seen`` marks those that exist."""
        told = F.silu(self.time(t[:, None].to(self.qkv.weight.dtype)))
        scale, shift = self.modulate(told)[:, None].chunk(2, -1)
        b, n, width = x.shape
        qkv = self.qkv(self.first(x) * (1 + scale) + shift)
        q, k, v = qkv.reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self._dropped(self.mix(attend(q, k, v, seen).transpose(1, 2).reshape(b, n, width)))
        return x + self._dropped(self.narrow(self._dropped(F.relu(self.wide(self.second(x))))))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)
