"""The field contract.

A field is a function of state and time with a declared meaning, its *kind*:

=============  =====================================================================================
``velocity``   ``v(x, t) = E[dx_t/dt | x_t = x]``
``data``       ``E[x1 | x_t = x]``
``noise``      ``E[x0 | x_t = x]``
``score``      ``grad log p_t(x)``
``posterior``  logits of ``p(x1 = . | x_t = x)`` for every token: one more dimension, of size vocab; for
               one-hot rows ``(..., K)``, as many
``flow-map``   the state at a later time, ``X(x, s, t)``
=============  =====================================================================================

``source-posterior`` is the posterior of x0 in the same form.

A product state whose parts mean different things has a dict of kinds. The table is open: a field of another
kind says by `Field.readings` (or `Field.as_kind`) what else it can be read as, and whoever asks goes through
`read_as`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.conditions import is_null
from flowloom.errors import IncompatibleError
from flowloom.geometry import Euclidean, Geometry
from flowloom.layout import Layout
from flowloom.paths import Path
from flowloom.paths.conversions import Kind, uniform_kind
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom.state import Cond, State, Time, first_leaf, float_dtype

__all__ = ["Field", "Kind", "NetworkField", "evaluate", "onto_space", "time_tensor", "uniform_kind"]


class Field(ABC):
    """What a solver integrates.

    Attributes:
        kind: the meaning of the output, see the module's table.
        path: the path the network was trained on; it makes one kind of prediction of another.
        geometry: the space of the state.
        source: the law of x0; None where it is not known, and then there are no scores.
        batch_independent: False where rows of a batch see each other.
        jvp_safe: False where forward-mode derivatives do not exist; likelihoods then take reverse mode.
        stochastic: True where it draws; it is then called with ``generator=`` as well.
        has_density: True where it tells the density of its samples itself (`log_prob`), as bijections do.
        informs: names of the conditions that tell it something, which guidance can withhold; None for all.
        spec: of its states and conditions, which say what is real and given; None where it is not known.
        readings: ways to read a field of one kind as another, by ``(kind, wanted)``. A wrapper of the same
            kind (guidance, say) takes them over, and what it changed is what is then read.
    """

    kind: Kind
    path: Path | None = None
    geometry: Geometry = Euclidean()
    source: Source | None = None
    batch_independent: bool = True
    jvp_safe: bool = True
    stochastic: bool = False
    has_density: bool = False
    informs: tuple[str, ...] | None = None
    spec: Spec | None = None
    readings: Mapping[tuple[str, str], Callable[[Field], Field]] = MappingProxyType({})

    @property
    def span(self) -> tuple[float, float]:
        """Its times at the source and at the data: the path's."""
        return (0.0, 1.0) if self.path is None else self.path.span

    def informed(self, cond: Cond) -> bool:
        """Whether ``cond`` holds something that guidance can withhold."""
        return any(not is_null(name) and (self.informs is None or name in self.informs) for name in cond)

    def layout_of(self, cond: Cond) -> Layout | None:
        """What ``cond`` says is real and given; None where nothing is said, or the spec is not known."""
        return None if self.spec is None else Layout.of(self.spec, cond)

    @abstractmethod
    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """Evaluate at state ``x``, times ``t`` of shape ``(batch,)`` and conditions ``cond``."""

    def calls(self, t: float, cond: Cond) -> int:
        """Network evaluations that one call at time ``t`` under ``cond`` costs (guidance makes it two)."""
        return 1

    def as_kind(self, kind: Kind) -> Field | None:
        """This field read as another kind, by other means than its path; None where it cannot be."""
        if not isinstance(self.kind, str) or not isinstance(kind, str):
            return None
        make = self.readings.get((self.kind, kind))
        return None if make is None else make(self)

    def log_prob(self, x: State, cond: Cond, layout: Layout | None = None) -> Tensor:
        """Log density of its samples at ``x`` in nats, ``(batch,)``, where `has_density` says so.

        Raises:
            IncompatibleError: the density follows only from integrating the field.
        """
        raise IncompatibleError(f"{type(self).__name__} does not tell the density of its samples")

    def _like(self, other: Field) -> None:
        """Take over what another field says of itself."""
        self.kind, self.path, self.geometry, self.source = (
            other.kind,
            other.path,
            other.geometry,
            other.source,
        )
        self.batch_independent, self.jvp_safe = other.batch_independent, other.jvp_safe
        self.stochastic, self.informs = other.stochastic, other.informs
        self.readings, self.spec = other.readings, other.spec

    def told_by(self, model: nn.Module) -> None:
        """Take over what a network says of itself."""
        self.batch_independent = getattr(model, "batch_independent", True)
        self.jvp_safe = getattr(model, "jvp_safe", True)
        spec = getattr(model, "spec", None)
        self.spec = spec if isinstance(spec, Spec) else None
        self.informs = None if self.spec is None else self.spec.named("inform")


class NetworkField(Field):
    """A model read as a field.

    Velocities of curved geometries are projected onto the tangent space, and predicted points onto the
    space, so that a network may answer with any ambient vector.

    Args:
        model: called as ``model(x, t, **cond)``.
        kind: meaning of its output.
        path: the path it was trained on.
        source: the law of x0.
    """

    def __init__(
        self, model: nn.Module, kind: Kind, path: Path | None = None, source: Source | None = None
    ) -> None:
        self.model, self.kind, self.path, self.source = model, kind, path, source
        self.geometry = path.geometry if path is not None else Euclidean()
        self.told_by(model)

    def __call__(self, x: State, t: Time, cond: Cond) -> State:
        """Evaluate the network."""
        return onto_space(self.geometry, self.kind, x, self.model(x, t, **cond))


def onto_space(geometry: Geometry, kind: Kind, x: Any, output: Any) -> Any:
    """An output as its kind has it: velocities tangent at ``x``, predicted data and noise on the space."""
    if isinstance(kind, dict):
        return {k: onto_space(geometry.part(k), kind[k], x[k], v) for k, v in output.items()}
    if kind == "velocity":
        return output if geometry.flat else geometry.to_tangent(x, output)
    if kind in ("data", "noise") and not geometry.straight:
        return geometry.project(output)
    return output


def evaluate(field: Field, x: State, t: Any, cond: Cond, generator: torch.Generator | None) -> State:
    """``field(x, t, cond)``, with the generator where the field draws."""
    if field.stochastic:
        return field(x, t, cond, generator=generator)  # type: ignore[call-arg]
    return field(x, t, cond)


def time_tensor(t: float, like: State) -> torch.Tensor:
    """A time of shape ``(batch,)`` beside the state ``like``."""
    if isinstance(like, Tensor) and like.is_floating_point():
        return like.new_full((like.shape[0],), t)
    leaf = first_leaf(like)
    return torch.full((leaf.shape[0],), t, device=leaf.device, dtype=float_dtype(like))
