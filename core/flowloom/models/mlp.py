"""A residual-free MLP on flattened states: the reference network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.models.embeddings import ConditionEmbedding, TimeEmbedding
from flowloom.module_names import module_name
from flowloom.spec import Spec
from flowloom.state import State, Time, expand, leaves


class MLP(nn.Module):
    """Multilayer perceptron on the flattened state, for any spec: real, discrete or product.

    Real parts enter as they are, tokens as learned embeddings; a discrete part leaves as logits of shape
    ``(batch, *event, vocab)``. Time and conditions enter as one embedding that is added after every
    layer. Padded entries (``mask``) are zeroed at input and output.

    Args:
        spec: of the data.
        width: of the hidden layers.
        depth: number of hidden layers.
        token_dim: size of token embeddings.
        second_time: also read a second time ``s=`` (flow maps).
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 256,
        depth: int = 3,
        token_dim: int = 8,
        second_time: bool = False,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.second_time = second_time
        self.parts = dict(_leaf_specs(spec))
        self.tokens = nn.ModuleDict()
        size_in = size_out = 0
        for name, leaf in self.parts.items():
            if leaf.vocab is not None:
                # One more id than the vocabulary: sources may use it as the mask token.
                self.tokens[module_name(name)] = nn.Embedding(leaf.vocab + 1, token_dim)
            size_in += leaf.numel() * (token_dim if leaf.vocab is not None else 1)
            size_out += leaf.numel() * (leaf.vocab or 1)
        self.time = TimeEmbedding(width)
        self.later = TimeEmbedding(width) if second_time else None
        self.condition = ConditionEmbedding(spec.conditions, width)
        self.inner = nn.ModuleList(nn.Linear(size_in if i == 0 else width, width) for i in range(depth))
        self.mix = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.out = nn.Linear(width, size_out)

    def forward(self, x: State, t: Time, s: Tensor | None = None, **cond: Tensor) -> State:
        """Read a state at time ``t``; see `flowloom.models.Model`."""
        mask = cond.get("mask")
        columns = []
        for name, leaf in leaves(x):
            embed = self.tokens[module_name(name)](leaf) if self.parts[name].vocab is not None else leaf
            kept = _masked(embed, mask)
            columns.append(kept.flatten(1) if kept.ndim > 1 else kept[:, None])
        hidden = torch.cat(columns, 1)
        first = t
        while isinstance(first, dict):
            first = next(iter(first.values()))
        context = self.time(first if first.ndim == 1 else first.flatten(1).mean(1))
        if self.later is not None:
            if s is None:
                raise TypeError("this MLP was built with second_time=True and needs s=")
            context = context + self.later(s)
        context = nn.functional.silu(context + self.condition(cond, len(hidden)))
        for layer, mix in zip(self.inner, self.mix, strict=True):
            hidden = nn.functional.silu(layer(hidden) + mix(context))
        return self._split(self.out(hidden), x, mask)

    def _split(self, flat: Tensor, x: State, mask: Tensor | None) -> State:
        if not isinstance(x, dict):
            return self._shape(flat, "", x, mask)
        out: dict[str, State] = {}
        sizes = [leaf.numel() * (leaf.vocab or 1) for leaf in self.parts.values()]
        for (name, leaf), chunk in zip(leaves(x), flat.split(sizes, 1), strict=True):
            *path, last = name.split(".")
            node = out
            for step in path:
                node = node.setdefault(step, {})  # type: ignore[assignment]
            node[last] = self._shape(chunk, name, leaf, mask)
        return out

    def _shape(self, flat: Tensor, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
        vocab = self.parts[name].vocab
        return _masked(flat.reshape(x.shape if vocab is None else (*x.shape, vocab)), mask)


def _leaf_specs(spec: Spec, prefix: str = "") -> list[tuple[str, Spec]]:
    if not spec.parts:
        return [(prefix, spec)]
    return [
        row
        for name, inner in spec.parts.items()
        for row in _leaf_specs(inner, f"{prefix}.{name}" if prefix else name)
    ]


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    # A mask speaks of the first event dimension only; parts without one (a class, a lattice) pass through.
    if mask is None or x.ndim < 2 or x.shape[1] != mask.shape[1]:
        return x
    # Where, not multiply: what stands in padding may be NaN.
    return torch.where(expand(mask, x), x, 0)
