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

A product state whose parts mean different things has a dict of kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeAlias, Union

import torch
from torch import nn

from flowloom.conditions import is_null
from flowloom.geometry import Euclidean, Geometry
from flowloom.paths import Path
from flowloom.spec import Spec
from flowloom.state import Cond, State, Time, first_leaf, float_dtype

Kind: TypeAlias = Union[str, "dict[str, Kind]"]


class Field(ABC):
    """What a solver integrates.

    Attributes:
        kind: the meaning of the output, see the module's table.
        path: the path the network was trained on; conversions need its schedule.
        geometry: the space of the state.
        source_std: standard deviation of a Gaussian source, None where the source is not Gaussian.
        batch_independent: False where rows of a batch see each other.
        jvp_safe: False where forward-mode derivatives do not exist; likelihoods then take reverse mode.
        informs: names of the conditions that tell it something, which guidance can withhold; None for all.
    """

    kind: Kind
    path: Path | None = None
    geometry: Geometry = Euclidean()
    source_std: float | None = None
    batch_independent: bool = True
    jvp_safe: bool = True
    informs: tuple[str, ...] | None = None

    def informed(self, cond: Cond) -> bool:
        """Whether ``cond`` holds something that guidance can withhold."""
        return any(not is_null(name) and (self.informs is None or name in self.informs) for name in cond)

    @abstractmethod
    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """Evaluate at state ``x``, times ``t`` of shape ``(batch,)`` and conditions ``cond``."""

    def calls(self, t: float, cond: Cond) -> int:
        """Network evaluations that one call at time ``t`` under ``cond`` costs (guidance makes it two)."""
        return 1

    def _like(self, other: Field) -> None:
        """Take over what ``other`` knows of its space and path."""
        self.kind, self.path, self.geometry = other.kind, other.path, other.geometry
        self.source_std, self.batch_independent = other.source_std, other.batch_independent
        self.jvp_safe, self.informs = other.jvp_safe, other.informs


class NetworkField(Field):
    """A model read as a field.

    Velocities of curved geometries are projected onto the tangent space, so that a network may answer
    with any ambient vector.

    Args:
        model: called as ``model(x, t, **cond)``.
        kind: meaning of its output.
        path: the path it was trained on.
        source_std: of a Gaussian source, None otherwise.
    """

    def __init__(
        self, model: nn.Module, kind: Kind, path: Path | None = None, source_std: float | None = None
    ) -> None:
        self.model, self.kind, self.path, self.source_std = model, kind, path, source_std
        self.geometry = path.geometry if path is not None else Euclidean()
        self.batch_independent = getattr(model, "batch_independent", True)
        self.jvp_safe = getattr(model, "jvp_safe", True)
        spec = getattr(model, "spec", None)
        self.informs = spec.named("inform") if isinstance(spec, Spec) else None

    def __call__(self, x: State, t: Time, cond: Cond) -> State:
        """Evaluate the network."""
        return tangent(self.geometry, self.kind, x, self.model(x, t, **cond))


def tangent(geometry: Geometry, kind: Kind, x: Any, output: Any) -> Any:
    """Project the velocity parts of an output onto the tangent space at ``x``; other parts pass."""
    if isinstance(kind, dict):
        parts = getattr(geometry, "parts", {})
        return {k: tangent(parts[k], kind[k], x[k], v) if k in parts else v for k, v in output.items()}
    if kind != "velocity" or geometry.flat:
        return output
    return geometry.to_tangent(x, output)


def uniform_kind(kind: Kind) -> str | None:
    """The one kind shared by all parts, or None where they differ."""
    if isinstance(kind, str):
        return kind
    kinds = {uniform_kind(k) for k in kind.values()}
    return kinds.pop() if len(kinds) == 1 else None


def time_tensor(t: float, like: State) -> torch.Tensor:
    """A time of shape ``(batch,)`` beside the state ``like``."""
    leaf = first_leaf(like)
    return torch.full((leaf.shape[0],), t, device=leaf.device, dtype=float_dtype(like))
