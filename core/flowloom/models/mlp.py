"""A residual-free MLP on flattened states: the reference network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from flowloom.layout import Layout
from flowloom.models.embeddings import ConditionEmbedding, TimeEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.module_names import module_name
from flowloom.spec import Spec
from flowloom.state import State, Time, leaves


class MLP(nn.Module):
    """Multilayer perceptron on the flattened state, for any spec: real, discrete or product.

    Real parts enter as they are, tokens as learned embeddings; a discrete part leaves as logits of shape
    ``(batch, *event, vocab)``. Time and conditions enter as one embedding that is added after every
    layer; a time for every part, or for every token, is embedded for each of them and averaged. Padding is
    zeroed at input and output; marks of what is given are read beside the state.

    Args:
        spec: of the data.
        width: of the hidden layers.
        depth: number of hidden layers.
        token_dim: size of token embeddings.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 256,
        depth: int = 3,
        token_dim: int = 8,
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, token_dim=token_dim)
        self.spec = spec
        self.parts = dict(spec.leaves())
        self.given = spec.named("given")
        self.tokens = nn.ModuleDict()
        size_in = size_out = 0
        for name, leaf in self.parts.items():
            if leaf.vocab is not None:
                # One more id than the vocabulary: sources may use it as the mask token.
                self.tokens[module_name(name)] = nn.Embedding(leaf.vocab + 1, token_dim)
            size_in += leaf.numel() * (token_dim if leaf.vocab is not None else 1)
            size_out += leaf.numel() * (leaf.vocab or 1)
        size_in += sum(math.prod(spec.conditions[name].shape) for name in self.given)
        self.time = TimeEmbedding(width)
        self.condition = ConditionEmbedding(spec.conditions, width)
        self.inner = nn.ModuleList(nn.Linear(size_in if i == 0 else width, width) for i in range(depth))
        self.mix = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.out = nn.Linear(width, size_out)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """Read a state at time ``t``; see `flowloom.models.Model`."""
        return self._split(self.out(self.features(x, t, cond)), x, Layout.of(self.spec, cond))

    def features(self, x: State, t: Time, cond: Mapping[str, Tensor]) -> Tensor:
        """What the last hidden layer makes of a state, ``(batch, width)``."""
        layout = Layout.of(self.spec, cond)
        columns = []
        for name, leaf in leaves(x):
            embed = self.tokens[module_name(name)](_ids(leaf, layout, name)) if self._vocab(name) else leaf
            kept = embed if layout is None else layout.at(name).zero(embed)
            columns.append(kept.flatten(1) if kept.ndim > 1 else kept[:, None])
        hidden = torch.cat([*columns, *self._marks(cond, columns[0])], 1)
        context = nn.functional.silu(self._context(t) + self.condition(cond, len(hidden)))
        for layer, mix in zip(self.inner, self.mix, strict=True):
            hidden = nn.functional.silu(layer(hidden) + mix(context))
        return hidden

    def _marks(self, cond: Mapping[str, Tensor], like: Tensor) -> Iterator[Tensor]:
        for name in self.given:
            shape = (len(like), math.prod(self.spec.conditions[name].shape))
            marks = cond.get(name)
            yield like.new_zeros(shape) if marks is None else marks.reshape(shape).to(like.dtype)

    def _vocab(self, name: str) -> int | None:
        return self.parts[name].vocab

    def _context(self, t: Time) -> Tensor:
        times = [leaf for _, leaf in leaves(t)]
        embedded = [self.time(leaf) for leaf in times]
        means = [e if e.ndim == 2 else e.flatten(1, -2).mean(1) for e in embedded]
        return means[0] if len(means) == 1 else torch.stack(means).mean(0)

    def _split(self, flat: Tensor, x: State, layout: Layout | None) -> State:
        if not isinstance(x, dict):
            return self._shape(flat, "", x, layout)
        out: dict[str, State] = {}
        sizes = [leaf.numel() * (leaf.vocab or 1) for leaf in self.parts.values()]
        for (name, leaf), chunk in zip(leaves(x), flat.split(sizes, 1), strict=True):
            *path, last = name.split(".")
            node = out
            for step in path:
                node = node.setdefault(step, {})  # type: ignore[assignment]
            node[last] = self._shape(chunk, name, leaf, layout)
        return out

    def _shape(self, flat: Tensor, name: str, x: Tensor, layout: Layout | None) -> Tensor:
        vocab = self._vocab(name)
        out = flat.reshape(x.shape if vocab is None else (*x.shape, vocab))
        return out if layout is None else layout.at(name).zero(out)


def _ids(tokens: Tensor, layout: Layout | None, name: str) -> Tensor:
    """Token ids that a table can look up: padding may hold any."""
    return tokens if layout is None else layout.at(name).zero(tokens)
