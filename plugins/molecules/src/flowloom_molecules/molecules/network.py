"""What equivariant networks of atoms have in common: the states they take, and how they answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.module_names import module_name
from flowloom.spec import Spec
from flowloom.symmetries import Permutation, Rotation, Translation
from flowloom_molecules.graphs import Graphs


class AtomNetwork(nn.Module):
    """Positions beside tokens: atoms get numbers, rounds move them, logits are read from their numbers.

    The centre of the real atoms is taken out of what goes in and what comes out. Subclasses bring the layers.

    Args:
        spec: of the states: one real-valued part ``(atoms, 3)``, and any parts ``(atoms,)`` of tokens.
        width: numbers of an atom.
        layers: rounds, one after the other: numbers (with tensors behind them, where they have any) and
            positions of the real atoms, and how far pairs were in the state (`given`), to the first two.
        answer: ``data``, where the atoms end; or ``velocity``, how they move.

    Raises:
        IncompatibleError: the state is none of atoms in space.
    """

    conditional = True
    called: ClassVar[str]
    """Its name in recipes."""

    def __init__(
        self, spec: Spec, width: int, layers: Iterable[nn.Module], answer: Literal["data", "velocity"]
    ) -> None:
        super().__init__()
        real = [name for name, leaf in spec.parts.items() if leaf.vocab is None]
        if len(real) != 1 or spec.parts[real[0]].shape[1:] != (3,):
            raise IncompatibleError(
                f"model {self.called} is of states with one part of positions (atoms, 3) beside parts of "
                f"tokens; the state has {', '.join(spec.parts) or 'one tensor'}"
            )
        self.spec, self.answer, self.where, self.width = spec, answer, real[0], width
        self.symmetries = (
            Rotation((self.where,), reflections=True),
            Translation((self.where,)),
            Permutation(dict.fromkeys(spec.parts, 1)),
        )
        self.kinds = {name: leaf.vocab for name, leaf in spec.parts.items() if leaf.vocab is not None}
        # One more id than the vocabulary: sources may use it as the mask token.
        self.embed = nn.ModuleDict(
            {module_name(k): nn.Embedding(v + 1, width) for k, v in self.kinds.items()}
        )
        self.time = TimeEmbedding(width)
        self.condition = ConditionEmbedding(spec.conditions, width)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)
        self.read = nn.ModuleDict({module_name(k): nn.Linear(width, v) for k, v in self.kinds.items()})

    def given(self, place: Tensor, graphs: Graphs) -> Tensor:
        """How far all pairs are in the state, as rounds read it, ``(edges,)``: squared distances."""
        return squares(place, graphs)

    def forward(self, x: Any, t: Tensor, /, **cond: Tensor) -> Any:
        """Where atoms end, or how they move; and logits of every part of tokens."""
        layout = Layout.of(self.spec, cond)
        padded: Tensor = x[self.where]
        own = layout.at(self.where).real if layout is not None else None
        real = torch.ones(padded.shape[:2], dtype=torch.bool, device=padded.device) if own is None else own
        graphs = Graphs.complete(real)
        start = graphs.centred(graphs.nodes(padded))
        hidden = (self.time(t) + self.condition(cond, len(padded)))[graphs.row]
        for name in self.kinds:
            hidden = hidden + self.embed[module_name(name)](graphs.nodes(x[name]))
        place, given = start, self.given(start, graphs)
        for layer in self.layers:
            hidden, place = layer(hidden, place, given, graphs)
        hidden = self.norm(hidden[:, : self.width])
        moved = graphs.centred(place) if self.answer == "data" else graphs.centred(place - start)
        tokens = {k: graphs.padded(self.read[module_name(k)](hidden)) for k in self.kinds}
        return {name: graphs.padded(moved) if name == self.where else tokens[name] for name in x}

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An objective that takes the answer for something else."""
        kind = getattr(parts.get("objective"), "kind", None)
        asked = kind.get(self.where) if isinstance(kind, Mapping) else None
        if asked is not None and asked != self.answer:
            yield Clash(
                "model",
                "objective",
                f"this network answers with the {self.answer} of '{self.where}', and the objective reads "
                f"{asked}; give the model answer: {asked}, or the objective predict: {self.answer}",
            )


def squares(place: Tensor, graphs: Graphs) -> Tensor:
    """Squared distances of all pairs, ``(edges,)``."""
    return (place[graphs.target] - place[graphs.source]).square().sum(-1)
