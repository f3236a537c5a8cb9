"""What a data set promises: the shape and kind of its states, and which conditions come with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowloom.state import Shape

__all__ = ["Condition", "Spec"]


@dataclass(frozen=True)
class Condition:
    """One entry of ``cond``.

    Args:
        classes: number of class ids (entries are int64 in ``[0, classes)``), or None for real values.
        shape: shape of one example's entry, ``()`` for a single class id.
        names: names of the classes, for reports and for ``--cond label=cat``.
    """

    classes: int | None = None
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """The description of a state from which models, sources and geometries are sized.

    Args:
        shape: event shape of one example (without the batch dimension).
        vocab: number of token ids for discrete states (int64 in ``[0, vocab)``), None for real values.
        parts: for a product state, the spec of every part; ``shape`` and ``vocab`` are then unused.
        conditions: what travels beside the state in ``cond``.
        ragged: examples differ in length along the first event dimension; ``cond["mask"]`` says which
            entries are real, and ``shape`` holds the largest.
        limits: lowest and highest value of a bounded real state, e.g. ``(-1.0, 1.0)`` for images.
        tokens: text of every token id (letters of an alphabet, pieces of a tokenizer), for prompts and
            reports; empty where tokens have none. A codec that embeds tokens hands it on.
    """

    shape: tuple[int, ...] = ()
    vocab: int | None = None
    parts: Mapping[str, Spec] = field(default_factory=dict)
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    ragged: bool = False
    limits: tuple[float, float] | None = None
    tokens: tuple[str, ...] = ()

    @property
    def discrete(self) -> bool:
        """True where the state (every part of it) is made of token ids."""
        if self.parts:
            return all(spec.discrete for spec in self.parts.values())
        return self.vocab is not None

    def event_shape(self) -> Shape:
        """Event shape of one example, a dict of shapes for a product state."""
        if self.parts:
            return {name: spec.event_shape() for name, spec in self.parts.items()}
        return self.shape

    def numel(self) -> int:
        """Number of entries of one example, summed over parts."""
        if self.parts:
            return sum(spec.numel() for spec in self.parts.values())
        count = 1
        for size in self.shape:
            count *= size
        return count
