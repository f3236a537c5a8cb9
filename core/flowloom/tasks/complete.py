"""Completing data of which some entries are given, by flows that were trained to and by any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.seeds import derive
from flowloom.solvers import Solver
from flowloom.state import Cond, State, leaves, map_state

__all__ = ["completed"]


def completed(flow: Flow, asked: Examples, *, seed: int = 0, solver: Solver | None = None) -> Examples:
    r"""Data with the same given entries, and the others made up by the flow.

    A flow that was trained with given entries is told of them and holds them: its answers are draws of the
    conditional law. Any other answers by replacement, an approximation that needs no training: continuous
    given entries are set, after every step to time t, to where the path from their noise to their value then
    stands, as all entries did in training (Song et al. 2011.13456, appendix I.2, by the flow's own path;
    Lugmayr et al. 2201.09865 without resampling). Discrete ones are held at their value, which a process of
    jumps may pass through at any time.

    Args:
        flow: a trained flow.
        asked: data that are right where given and hold anything finite elsewhere, with their conditions, and
            the layout that marks what is real and what is given.
        seed: of everything random.
        solver: in place of the flow's own.

    Returns:
        Data on the CPU, with the conditions and layout of ``asked``.

    Raises:
        IncompatibleError: nothing is marked as given, or marks do not fit the states (a codec that changes
            their places).
    """
    layout = asked.layout
    if layout is None or layout.given is None:
        raise IncompatibleError("nothing says which entries are given; mark them by a layout")
    cond = {name: value for name, value in asked.cond.items() if name in flow.known_conditions()}
    here = replace(asked, cond=cond).to(flow.device)
    assert here.layout is not None
    with torch.no_grad(), flow.evaluating():
        known = replace(flow.encode(replace(here, layout=None)), layout=here.layout)
    _require_marks(known.x, here.layout)
    told = _told(flow, here)
    if told is not None:
        held = here.layout.holding(known.x)
        x = flow.solve(len(asked), cond=told, layout=held, seed=seed, solver=solver).x
    else:
        x = _replacing(flow, known, seed, solver)
    with torch.no_grad(), flow.evaluating():
        found = flow.decode(Examples(x, known.cond)).x
    # What was given is handed back as it came, not as it went through the codec.
    kept = layout.holding(asked.x).hold(map_state(Tensor.cpu, found))
    return Examples(kept, asked.cond, layout)


def _replacing(flow: Flow, known: Examples, seed: int, solver: Solver | None) -> State:
    assert known.layout is not None
    moving, still = _split(flow.geometry, known.layout.given)
    held = Layout(known.layout.real, still, known.x)
    fixed = None if held.real is None and still is None else held
    n, cond = len(known), known.cond
    if moving is None:
        return flow.solve(n, cond=cond, layout=fixed, seed=seed, solver=solver).x
    draws = torch.Generator(flow.device).manual_seed(derive(seed, "given"))
    x0 = flow.start_for(known, draws)
    _, end = flow.field().span

    def stand(x: State, t: float) -> State:
        there: State = known.x
        if t != end:
            time = torch.full((n,), t, device=flow.device, dtype=flow.dtype)
            there = flow.path.sample(x0, known.x, time, generator=draws).x_t
        stood: State = Layout(given=moving, values=there).hold(x)
        return stood

    return flow.solve(x0=x0, cond=cond, layout=fixed, seed=seed, solver=solver, on_step=stand).x


def _told(flow: Flow, asked: Examples) -> Cond | None:
    """The conditions by which the flow is told what is given; None where it was not trained so."""
    conditions = {k: v for k, v in flow.known_conditions().items() if v.role in ("given", "values")}
    covered = {part for one in conditions.values() if one.role == "given" for part in one.parts()}
    layout, data = asked.layout or Layout(), dict(leaves(asked.x))
    marked = [part for part in data if layout.at(part).given is not None]
    if not covered.issuperset(marked):
        return None
    told = dict(asked.cond)
    for name, condition in conditions.items():
        part = condition.parts()[0]
        given: Tensor | None = layout.at(part).given
        if given is None:
            given = torch.zeros((len(asked), *condition.shape), dtype=torch.bool, device=flow.device)
        if condition.role == "given":
            if given.shape[1:] != tuple(condition.shape):
                return None
            told[name] = given
        elif part in data:
            told[name] = Layout(given=~given).still(data[part])
    return told


def _split(geometry: Geometry, given: Any) -> tuple[Any, Any]:
    """Marks of continuous entries, and of discrete ones; None where there are none."""
    if isinstance(given, dict):
        pairs = {name: _split(geometry.part(name), marks) for name, marks in given.items()}
        moving, still = ({k: v[i] for k, v in pairs.items() if v[i] is not None} for i in (0, 1))
        return moving or None, still or None
    return (given, None) if geometry.continuous else (None, given)


def _require_marks(x: State, layout: Layout) -> None:
    for name, leaf in leaves(x):
        given = layout.at(name).given
        if given is not None and given.shape != leaf.shape[: given.ndim]:
            where = f" of part '{name}'" if name else ""
            raise IncompatibleError(
                f"what is given is marked over {tuple(given.shape[1:])}, and states{where} have the shape "
                f"{tuple(leaf.shape[1:])}: a codec between them moves entries, so that none can be held; "
                "complete the states themselves, or take a codec that keeps places"
            )
