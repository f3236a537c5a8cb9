r"""Conversions between velocity, data, noise and score on affine paths: the one place that knows them.

With :math:`x_t = \alpha x_1 + \sigma x_0` and :math:`D = \dot\alpha\sigma - \alpha\dot\sigma`
(2412.06264, table 1):

.. math::
    v = \dot\alpha\, E[x_1] + \dot\sigma\, E[x_0], \quad
    E[x_1] = \frac{\sigma v - \dot\sigma x}{D}, \quad
    E[x_0] = \frac{\dot\alpha x - \alpha v}{D}, \quad
    \nabla\log p_t = -\frac{E[x_0]}{s^2 \sigma}

for a source :math:`N(0, s^2 I)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields.base import Field, Kind
from flowloom.schedules import Schedule
from flowloom.state import Cond, State, Time, expand, map_state, part

AFFINE_KINDS = ("velocity", "data", "noise", "score")


def margin(dtype: torch.dtype) -> float:
    """How far from t=0 and t=1 divisions by alpha and sigma stay."""
    return 1e-6 if dtype == torch.float64 else 1e-4


def convert(
    value: State, x: State, t: Time, schedule: Schedule, given: str, wanted: str, std: float = 1.0
) -> State:
    """Turn one prediction into another at the same state and time.

    Args:
        value: the prediction, in the shape of ``x``.
        x: state ``x_t``.
        t: times ``(batch,)``; divisions that are singular at an end are taken 1e-4 before it (1e-6 in
            float64), and schedules with a ``latest`` time are not asked beyond it.
        schedule: of the affine path.
        given: kind of ``value``: velocity, data, noise or score.
        wanted: kind to return.
        std: of the Gaussian source (only the score depends on it).
    """
    if given == wanted:
        return value

    def leaf(v: Tensor, x: Tensor, t: Tensor) -> Tensor:
        eps = margin(x.dtype)
        # The determinant of some schedules vanishes at t=0 (alpha = t^n), as alpha does for all.
        t = expand(t.to(x.dtype), x).clamp(eps, schedule.latest)
        if given != "velocity" or wanted == "score":
            # Data and score need sigma > 0; velocity does not.
            t = t.clamp(max=1 - eps)
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        da, ds = schedule.d_alpha(t), schedule.d_sigma(t)
        if given == "velocity":
            determinant = da * sigma - alpha * ds
            if wanted == "data":
                return (sigma * v - ds * x) / determinant
            noise = (da * x - alpha * v) / determinant
        elif given == "data":
            noise = (x - alpha * v) / sigma
        else:
            noise = v if given == "noise" else -(std**2) * sigma * v
        if wanted == "noise":
            return noise
        if wanted == "score":
            return -noise / (std**2 * sigma)
        data = v if given == "data" else (x - sigma * noise) / alpha
        return data if wanted == "data" else da * data + ds * noise

    return map_state(leaf, value, x, t)


def can_convert(
    field_kind: Kind, wanted: Kind, *, affine: bool, gaussian: bool, vertices: bool = False
) -> bool:
    """Whether a field of one kind can serve where another is wanted.

    Args:
        field_kind: what the objective trains.
        wanted: what the solver consumes.
        affine: whether the path is affine.
        gaussian: whether the source is a centred Gaussian (needed for scores).
        vertices: whether the path turns a posterior over vertices of a simplex into a velocity.
    """
    if isinstance(field_kind, dict):
        return all(
            can_convert(kind, part(wanted, name), affine=affine, gaussian=gaussian, vertices=vertices)
            for name, kind in field_kind.items()
        )
    if isinstance(wanted, dict):
        return False
    if field_kind == wanted or (field_kind, wanted) == ("flow-map", "velocity"):
        return True
    if (field_kind, wanted) == ("posterior", "velocity"):
        return vertices
    if field_kind not in AFFINE_KINDS or wanted not in AFFINE_KINDS or not affine:
        return False
    return gaussian or "score" not in (field_kind, wanted)


class Converted(Field):
    """A field read as another kind through its affine path.

    Args:
        field: the field to read.
        kind: the kind wanted.
    """

    def __init__(self, field: Field, kind: str) -> None:
        self._like(field)
        self.field, self.given, self.kind = field, field.kind, kind

    def __call__(self, x: State, t: Time, cond: Cond) -> State:
        """Evaluate once and convert."""
        assert self.path is not None and self.path.schedule is not None
        value = self.field(x, t, cond)
        std = 1.0 if self.source_std is None else self.source_std
        given, wanted = str(self.given), str(self.kind)
        return convert(value, x, t, self.path.schedule, given, wanted, std)

    def calls(self, t: float, cond: Cond) -> int:
        """As the field it reads."""
        return self.field.calls(t, cond)


class PosteriorVelocity(Field):
    """The velocity of a posterior over the vertices of a simplex, ``E[u_t(x | x1)]`` under it.

    Args:
        field: of kind posterior, on a path that ends on vertices.
    """

    kind = "velocity"

    def __init__(self, field: Field) -> None:
        self._like(field)
        self.field, self.kind = field, "velocity"

    def __call__(self, x: State, t: Time, cond: Cond) -> State:
        """Evaluate once and average the conditional velocities."""
        assert self.path is not None
        p = map_state(lambda logits: torch.softmax(logits, -1), self.field(x, t, cond))
        return self.path.posterior_velocity(p, x, t)

    def calls(self, t: float, cond: Cond) -> int:
        """As the field it reads."""
        return self.field.calls(t, cond)


def converted(field: Field, kind: Kind) -> Field:
    """``field`` as one of ``kind``, itself where it is one already.

    Raises:
        IncompatibleError: the conversion does not exist on this path and source.
    """
    from flowloom.fields.flow_map import FlowMap, Instantaneous

    if field.kind == kind or (isinstance(field.kind, dict) and all(k == kind for k in field.kind.values())):
        return field
    if isinstance(field, FlowMap) and kind == "velocity":
        return Instantaneous(field)
    if field.kind == "posterior" and kind == "velocity" and field.path is not None and field.path.vertices:
        return PosteriorVelocity(field)
    affine = field.path is not None and field.path.affine
    if not can_convert(field.kind, kind, affine=affine, gaussian=field.source_std is not None):
        why = "the path is not affine" if not affine else "the source is not a centred Gaussian"
        if field.kind not in AFFINE_KINDS or kind not in AFFINE_KINDS:
            why = "no conversion between them exists"
        raise IncompatibleError(f"a {_name(field.kind)} field cannot serve as {_name(kind)}: {why}")
    return Converted(field, str(kind))


def _name(kind: Kind) -> str:
    if isinstance(kind, str):
        return kind
    return "{" + ", ".join(f"{k}: {_name(v)}" for k, v in kind.items()) + "}"
