r"""Likelihoods by the instantaneous change of variables.

.. math:: \log p_1(x_1) = \log p_0(x_0) - \int_0^1 \mathrm{div}_g\, v_t(x_t)\, dt

along the trajectory through :math:`x_1` (Chen et al. 1806.07366; on manifolds Mathieu and Nickel 2020).
State and log density are integrated together by any ODE solver, in either direction, on any geometry.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from flowloom.divergence import exact_divergence, hutchinson_divergence
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Wrapped, read_as
from flowloom.geometry import Euclidean, Geometry, Product
from flowloom.layout import Layout
from flowloom.solvers import Solution, Solver
from flowloom.sources import Source
from flowloom.state import Cond, State, first_leaf, float_dtype, map_state

__all__ = ["Divergence", "divergence_of", "log_prob", "sample_with_log_prob"]

Divergence = Literal["exact", "hutchinson"]


class _Augmented(Wrapped):
    """The velocity of ``{"x": state, "gain": integral of the divergence}``."""

    kind = "velocity"

    def __init__(
        self,
        field: Field,
        divergence: Divergence,
        probe: State | None,
        chunk: int,
        layout: Layout | None = None,
    ) -> None:
        if not field.geometry.continuous:
            raise IncompatibleError("discrete states have no change-of-variables likelihood")
        if not field.batch_independent and divergence == "exact":
            raise IncompatibleError(
                "rows of this model see each other, so its Jacobian is not one per row; "
                "exact divergence is not defined here"
            )
        super().__init__(read_as(field, "velocity"))
        self.layout = layout
        self.space: Any = field.geometry
        self.geometry = Product({"x": self.space, "gain": Euclidean()})
        self.divergence, self.probe, self.chunk = divergence, probe, chunk
        # Most spaces have coordinates of constant volume, and then nothing is added.
        self.curved = not field.geometry.flat and _has_volume_density(field.geometry)

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        assert isinstance(x, dict)
        point = x["x"]

        def extended(z: State) -> State:
            # Constant along normals, so the ambient divergence is the Riemannian one.
            velocity = self.ask(_onto(self.space, point, z), t, cond, generator)
            # What is padding or given does not move, and has no divergence, whatever the network says there.
            return velocity if self.layout is None else self.layout.still(velocity)

        if self.divergence == "exact":
            v, div = exact_divergence(extended, point, chunk=self.chunk)
        else:
            assert self.probe is not None
            v, div = hutchinson_divergence(extended, point, self.probe)
        if self.curved:
            _, volume, *_ = torch.func.jvp(self.space.log_sqrt_det, (point,), (v,))
            div = div + volume
        return {"x": v, "gain": div}

    def calls(self, t: float, cond: Cond) -> int:
        return self.field.calls(t, cond)


def divergence_of(
    field: Field, x: State, t: torch.Tensor, cond: Cond | None = None, layout: Layout | None = None
) -> torch.Tensor:
    r"""The Riemannian divergence of a field, as likelihoods integrate it: ``(batch,)``.

    .. math:: \mathrm{div}_g\, v = \mathrm{tr}\, D(v \circ P) + \langle v, \nabla \log\sqrt{\det g} \rangle

    with :math:`P` the geometry's projection, so that the extended field is constant along normals.

    Args:
        field: anything that converts to a velocity.
        x: states.
        t: times, ``(batch,)``.
        cond: conditions of every row.
        layout: only what is real and free moves, and diverges.
    """
    value: Any = _Augmented(field, "exact", None, 64, layout)({"x": x, "gain": t}, t, cond or {})
    return value["gain"]


def log_prob(
    field: Field,
    source: Source,
    x1: State,
    *,
    solver: Solver,
    cond: Cond | None = None,
    divergence: Divergence = "exact",
    span: tuple[float, float] | None = None,
    generator: torch.Generator | None = None,
    chunk: int = 64,
    layout: Layout | None = None,
) -> Solution:
    """Log density of data under a trained flow.

    Args:
        field: anything that converts to a velocity.
        source: the law of x0; needs a density.
        x1: states at ``span[1]``, ``(batch, *event)``.
        solver: an ODE solver; an adaptive one is advisable.
        cond: conditions of every row.
        divergence: ``exact``, or ``hutchinson`` with one Rademacher probe kept along the trajectory.
        span: times of source and data.
        generator: draws the probe.
        chunk: see `exact_divergence`.
        layout: the density is that of what is real and free, given the rest as it stands in ``x1``.

    Returns:
        A solution whose ``x`` is x0 and whose ``log_prob`` is ``(batch,)``, in nats with respect to the
        geometry's volume.

    Raises:
        IncompatibleError: discrete states, a stochastic solver, or a source without density.
    """
    start, end = span or field.span
    return _integrate(
        field, source, x1, solver, cond, divergence, (end, start), generator, chunk, layout, back=True
    )


def sample_with_log_prob(
    field: Field,
    source: Source,
    x0: State,
    *,
    solver: Solver,
    cond: Cond | None = None,
    divergence: Divergence = "exact",
    span: tuple[float, float] | None = None,
    generator: torch.Generator | None = None,
    chunk: int = 64,
    layout: Layout | None = None,
) -> Solution:
    """Carry x0 to data and give the log density of where it lands, in one pass; see `log_prob`."""
    way = span or field.span
    return _integrate(field, source, x0, solver, cond, divergence, way, generator, chunk, layout, back=False)


def _integrate(
    field: Field,
    source: Source,
    start: State,
    solver: Solver,
    cond: Cond | None,
    divergence: Divergence,
    span: tuple[float, float],
    generator: torch.Generator | None,
    chunk: int,
    layout: Layout | None,
    *,
    back: bool,
) -> Solution:
    if solver.stochastic or solver.wanted() != "velocity":
        raise IncompatibleError(
            f"likelihoods need an ODE solver (euler, midpoint, heun, rk4, dopri5), not {solver!r}"
        )
    probe = map_state(lambda v: _signs(v, generator), start) if divergence == "hutchinson" else None
    inside: Layout | None = None
    if layout is not None:
        # Given entries stay where they stand, whatever values a condition names.
        start, layout = Layout(layout.real, layout.given).settled(start)
        probe = None if probe is None else layout.still(probe)
        inside = layout.under("x")
    leaf = first_leaf(start)
    gain = torch.zeros(leaf.shape[0], device=leaf.device, dtype=float_dtype(start))
    augmented = _Augmented(field, divergence, probe, chunk, layout)
    solution = solver.solve(augmented, {"x": start, "gain": gain}, cond=cond, span=span, layout=inside)
    end: Any = solution.x
    # From source to data the gain is the integral of the divergence; the other way it is minus that.
    base = source.log_prob(end["x"] if back else start, cond, layout)
    log_density = base + end["gain"] if back else base - end["gain"]
    return Solution(end["x"], solution.nfe, log_prob=log_density)


def _onto(geometry: Geometry, x: Any, z: Any) -> Any:
    """The point of the space that ``z``, near its point ``x``, lies beside."""
    if isinstance(geometry, Product):
        return {name: _onto(g, x[name], z[name]) for name, g in geometry.parts.items()}
    if geometry.full:
        return z
    # A flat piece may have walls, where `project` clamps.
    return x + geometry.to_tangent(x, z - x) if geometry.flat else geometry.project(z)


def _has_volume_density(geometry: Geometry) -> bool:
    if isinstance(geometry, Product):
        return any(_has_volume_density(g) for g in geometry.parts.values())
    return type(geometry).log_sqrt_det is not Geometry.log_sqrt_det


def _signs(like: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    bits = torch.randint(2, like.shape, generator=generator, device=like.device)
    return (2 * bits - 1).to(like.dtype)
