"""What a data set promises: the shape and kind of its states, and which conditions come with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar, get_args

from flowloom.errors import ShapeError
from flowloom.state import Shape

__all__ = ["Condition", "Role", "Spec"]

_T = TypeVar("_T")

Role = Literal["inform", "setting", "real", "given", "values", "start", "judged"]
"""What a condition is for; see `Condition`."""


@dataclass(frozen=True)
class Condition:
    """One entry of ``cond``.

    Args:
        classes: number of class ids (entries are int64 in ``[0, classes)``), or None for real values.
        shape: shape of one example's entry, ``()`` for a single class id.
        names: names of the classes, for reports and for ``--cond label=cat``.
        role: what it is for.

            * ``inform``: tells the network something beside the state; can be withheld, and guided.
            * ``setting``: a number that steers the network itself (a second time, a guidance scale, a step
              size); embedded as a time is, never withheld.
            * ``real``: boolean, which entries of the state exist; False is padding.
            * ``given``: boolean, which entries of the state are held fixed.
            * ``values``: what stands at given entries.
            * ``start``: where each path starts (``source: paired``).
            * ``judged``: told to metrics and renderers alone; neither training nor sampling ever sees it.
        of: dotted part of a product state that ``real``, ``given``, ``values`` and ``start`` speak of;
            several with commas between them, the whole of a state without parts where empty.
    """

    classes: int | None = None
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    role: Role = "inform"
    of: str = ""

    def __post_init__(self) -> None:
        roles = get_args(Role)
        if self.role not in roles:
            raise ValueError(f"the role of a condition is one of {', '.join(roles)}, not {self.role!r}")
        if self.of and self.role in ("inform", "setting", "judged"):
            raise ValueError(f"a condition of role {self.role} speaks of no part; of={self.of!r} names one")

    def parts(self) -> tuple[str, ...]:
        """The dotted parts it speaks of."""
        return tuple(part.strip() for part in self.of.split(","))


@dataclass(frozen=True)
class Spec:
    """The description of a state from which models, sources and geometries are sized.

    Args:
        shape: event shape of one example (without the batch dimension).
        vocab: number of token ids for discrete states (int64 in ``[0, vocab)``), None for real values.
        parts: for a product state, the spec of every part; ``shape`` and ``vocab`` are then unused.
        conditions: what travels beside the state in ``cond``.
        limits: lowest and highest value of a bounded real state, e.g. ``(-1.0, 1.0)`` for images.
        tokens: text of every token id (letters of an alphabet, pieces of a tokenizer), for prompts and
            reports; empty where tokens have none. A codec that embeds tokens hands it on.
        rate: entries a second of a signal in time (8000 for sound of 8 kHz); None where nothing says it.

    Raises:
        ShapeError: a condition has a name that is taken, does not say of which part it speaks, or has no
            shape of that part.
    """

    shape: tuple[int, ...] = ()
    vocab: int | None = None
    parts: Mapping[str, Spec] = field(default_factory=dict)
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    limits: tuple[float, float] | None = None
    tokens: tuple[str, ...] = ()
    rate: int | None = None

    def __post_init__(self) -> None:
        for name, condition in self.conditions.items():
            if name in ("null", "self") or name.startswith("null_"):
                use = "is how Python calls a network" if name == "self" else "marks withheld conditions"
                raise ShapeError(f"a condition cannot be called '{name}', which {use}; rename it")
            if condition.role in ("real", "given", "values"):
                self._require_parts(name, condition)

    def _require_parts(self, name: str, condition: Condition) -> None:
        shapes = {part: leaf.shape for part, leaf in self.leaves()}
        for part in condition.parts():
            if part not in shapes:
                what = f"speaks of '{part}'" if part else "speaks of the whole state"
                have = f"the parts are {', '.join(shapes)}" if self.parts else "it is one tensor"
                raise ShapeError(
                    f"condition '{name}' ({condition.role}) {what}; {have}; name them: "
                    "Condition(role=..., of=...)"
                )
            # Marks are over leading dimensions; values fill their part.
            wanted = shapes[part] if condition.role == "values" else shapes[part][: len(condition.shape)]
            if tuple(condition.shape) != tuple(wanted):
                takes = "the shape" if condition.role == "values" else "leading dimensions"
                whose = f"part '{part}'" if part else "the state"
                raise ShapeError(
                    f"condition '{name}' ({condition.role}) has shape {tuple(condition.shape)}; it takes "
                    f"{takes} of {whose}, which is {tuple(shapes[part])}"
                )

    def in_words(self) -> str:
        """What states are, in a few words, for messages."""
        if self.parts:
            return f"the parts {', '.join(map(repr, self.parts))}"
        what = f"tokens (vocabulary {self.vocab})" if self.discrete else "real values"
        return f"{what} of shape {tuple(self.shape)}"

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Spec]]:
        """Dotted name and spec of every part that is one tensor, empty for a state without parts."""
        if not self.parts:
            yield prefix, self
        for name, inner in self.parts.items():
            yield from inner.leaves(f"{prefix}.{name}" if prefix else name)

    @property
    def ragged(self) -> bool:
        """True where examples differ in size: a condition says what is real, and shapes are the largest."""
        return bool(self.named("real"))

    def named(self, *roles: Role) -> tuple[str, ...]:
        """Names of the conditions of some roles."""
        return tuple(name for name, condition in self.conditions.items() if condition.role in roles)

    def told(self, cond: Mapping[str, _T]) -> dict[str, _T]:
        """What is kept by name of conditions, without those that only judges may see."""
        hidden = self.named("judged")
        return {name: value for name, value in cond.items() if name not in hidden}

    def plus(self, conditions: Mapping[str, Condition]) -> Spec:
        """The same states with further conditions: what an objective asks of its network."""
        return replace(self, conditions={**self.conditions, **conditions})

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
