"""Wrong solvers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flowloom.data import Tensors
from flowloom.fields.base import time_tensor
from flowloom.flow import Flow
from flowloom.geometry import Euclidean
from flowloom.layout import Layout
from flowloom.models import MLP
from flowloom.solvers import (
    RK4,
    CTMCEuler,
    Dopri5,
    Euler,
    EulerMaruyama,
    FlowMapSteps,
    Heun,
    Midpoint,
    Mixed,
    Solution,
)
from flowloom.solvers.tableaus import Tableau
from flowloom.spec import Condition, Spec
from flowloom.state import map_state

KIND = "solver"


class Optimist(Euler):
    """Euler's method that claims order 2."""

    order = 2


class WrongNode(Midpoint):
    """The midpoint rule that looks at the time of the start: order 1 where the field depends on time."""

    tableau = Tableau((0.0, 0.0), ((), (0.5,)), (0.0, 1.0))


class Flat(Heun):
    """Heun that follows geodesics and still claims order 2... on a chart: it walks off the sphere."""

    def step(self, call, x, t, t_next, *, last):
        geometry, call.field.geometry = call.field.geometry, Euclidean()
        try:
            return super().step(call, x, t, t_next, last=last)
        finally:
            call.field.geometry = geometry


class DropsLast(Euler):
    """Walks the grid without its last step."""

    def times(self, span):
        return super().times(span)[:-1] if self.steps > 1 else super().times(span)


class Relative(Heun):
    """Measures time from the start of the span."""

    def solve(self, field, x0, *, span=(0.0, 1.0), **settings):
        return super().solve(field, x0, span=(0.0, span[1] - span[0]), **settings)


class Miscounts(Heun):
    def solve(self, field, x0, **settings):
        solution = super().solve(field, x0, **settings)
        return replace(solution, nfe=self.steps)


class Upcasts(Euler):
    def solve(self, field, x0, **settings):
        solution = super().solve(field, x0, **settings)
        return replace(solution, x=map_state(torch.Tensor.double, solution.x))


class InPlace(Euler):
    def solve(self, field, x0, **settings):
        solution = super().solve(field, x0, **settings)
        map_state(lambda a, b: a.copy_(b), x0, solution.x)
        return solution


class Global(EulerMaruyama):
    def step(self, call, x, t, t_next, *, last):
        generator, call.generator = call.generator, None
        try:
            return super().step(call, x, t, t_next, last=last)
        finally:
            call.generator = generator


class Remembers(Euler):
    """Keeps the last slope of the previous solve."""

    kept = None

    def step(self, call, x, t, t_next, *, last):
        slope = call(x, t)
        used = slope if self.kept is None else map_state(lambda a, b: a + 1e-3 * b, slope, self.kept)
        if last:
            self.kept = map_state(torch.ones_like, slope)
        return super().step(fixed(call, used), x, t, t_next, last=last)


def fixed(call, value):
    class Given:
        field, cond = call.field, call.cond

        def __call__(self, x, t):
            return value

    return Given()


class NoStart(Euler):
    """The trajectory leaves out x0."""

    def solve(self, field, x0, *, keep=0, **settings):
        s = super().solve(field, x0, keep=keep, **settings)
        return Solution(s.x, s.nfe, s.times[1:], s.trajectory[1:])


class IgnoresHook(Euler):
    """Calls the hook and ignores what it returns."""

    def solve(self, field, x0, *, on_step=None, **settings):
        def watch(x, t):
            if on_step is not None:
                on_step(x, t)

        return super().solve(field, x0, on_step=watch, **settings)


class Silent(Euler):
    """Replaces what is not finite by zeros."""

    def step(self, call, x, t, t_next, *, last):
        moved = super().step(call, x, t, t_next, last=last)
        return map_state(torch.nan_to_num, moved)


class Sloppy(Dopri5):
    """Accepts a hundred times the error it was asked for."""

    def _error(self, x, y, error, layout):
        return super()._error(x, y, error, layout) / 1000


class Endless(Dopri5):
    """Has no budget."""

    def solve(self, field, x0, **settings):
        self.max_nfe = 10**9
        return super().solve(field, x0, **settings)


class FirstPart(Heun):
    """Moves the first part of a product and leaves the rest."""

    def solve(self, field, x0, **settings):
        solution = super().solve(field, x0, **settings)
        if isinstance(x0, dict):
            first = next(iter(x0))
            return replace(solution, x={k: solution.x[k] if k == first else v for k, v in x0.items()})
        return solution


class HalfDrift(EulerMaruyama):
    """Forgets the one half in the drift's score term."""

    def step(self, call, x, t, t_next, *, last):
        moved = super().step(call, x, t, t_next, last=last)
        if last:
            return moved
        plain = EulerMaruyama(diffusion=0.0).step(call, x, t, t_next, last=False)
        return map_state(lambda a, b, c: a + 0.3 * (a - b) + 0 * c, moved, plain, x)


class Once(CTMCEuler):
    """Draws all tokens from the first posterior."""

    def advance(self, logits, x, path, t, t_next, last, generator):
        if t == 0 and t_next < t + 0.5:
            self_x = self._jump(x, logits, None, generator)
            return self_x
        return x


class EndsAlways(CTMCEuler):
    """Takes the end of any span for t=1."""

    def advance(self, logits, x, path, t, t_next, last, generator):
        return super().advance(logits, x, path, t, 1.0 if last else t_next, last, generator)


class LateMap(FlowMapSteps):
    """Jumps to the end of the span from every time, and so overshoots."""

    def step(self, call, x, t, t_next, *, last):
        call.nfe += 1
        return call.field.jump(x, time_tensor(t, x), time_tensor(t_next + 1e-3, x), call.cond)


class TwiceAStep(Mixed):
    """Calls the network once for every part."""

    def step(self, call, x, t, t_next, *, last):
        for _ in list(self.parts)[1:]:
            call(x, t)
        return super().step(call, x, t, t_next, last=last)


class LetsGo(Euler):
    """Moves what is given."""

    def solve(self, field, x0, *, layout=None, **settings):
        return super().solve(field, x0, layout=layout and Layout(layout.real), **settings)


class Afterwards(RK4):
    """Sets given entries back after a step, and shows them moved within it."""

    def solve(self, field, x0, *, layout=None, on_step=None, **settings):
        def held(x, t):
            if layout is not None:
                x = layout.settled(x0)[1].hold(x)
            seen = None if on_step is None else on_step(x, t)
            return x if seen is None else seen

        return super().solve(field, x0, layout=layout and Layout(layout.real), on_step=held, **settings)


class SeesPadding(Euler):
    """Starts from whatever stands in padding."""

    def solve(self, field, x0, *, layout=None, **settings):
        layout = layout and Layout(given=layout.given, values=layout.values)
        return super().solve(field, x0, layout=layout, **settings)


def two_parts():
    return TwiceAStep({"a": Euler(), "b": Euler()})


class Flattens(Euler):
    """Forgets that a state may have several dimensions."""

    def solve(self, field, x0, **settings):
        solution = super().solve(field, x0, **settings)
        return replace(solution, x=map_state(lambda v: v.flatten(1) if v.ndim > 2 else v, solution.x))


def own_recipe():
    """Data of 3 x 2 numbers and a flow that fits it: what is around a component in a recipe."""
    spec = Spec(shape=(3, 2), conditions={"label": Condition(4)})
    x = torch.randn(8, 3, 2, generator=torch.Generator().manual_seed(0))
    return {"data": Tensors(x, {"label": torch.arange(8) % 4}, spec=spec), "flow": Flow(MLP(spec, width=8))}


class Peeks(Euler):
    """Looks at a first row."""

    def solve(self, field, x0, **settings):
        map_state(lambda v: v[0], x0)
        return super().solve(field, x0, **settings)


TWINS = {
    "check_no_rows": (Peeks, ()),
    "check_order": (Optimist, ("check_order_on_the_sphere",)),
    "check_order_on_the_sphere": (Flat, ()),
    "check_constant_fields": (DropsLast, ("check_trajectory", "check_on_step")),
    "check_spans": (Relative, ()),
    "check_evaluations_are_counted": (Miscounts, ()),
    "check_dtype_is_kept": (Upcasts, ()),
    "check_follows_its_generator": (Global, ("check_has_no_memory", "check_padding_changes_nothing")),
    "check_has_no_memory": (Remembers, ()),
    "check_trajectory": (NoStart, ()),
    "check_on_step": (IgnoresHook, ()),
    "check_not_finite": (Silent, ()),
    "check_tolerance": (Sloppy, ()),
    "check_budget": (Endless, ()),
    "check_product_states": (FirstPart, ()),
    "check_marginals": (HalfDrift, ()),
    "check_joint_law": (Once, ("check_marginal_halfway",)),
    "check_marginal_halfway": (EndsAlways, ()),
    "check_flow_map": (LateMap, ()),
    "check_parts": (two_parts, ()),
    "check_walks_its_flow": (lambda: Flattens(4), ()),
    "check_given_entries_are_held": (LetsGo, ()),
    "check_padding_changes_nothing": (SeesPadding, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    around = own_recipe() if target == "check_walks_its_flow" else {}
    fails_exactly(KIND, make, target, also, **around)


class OfAPlugin(Euler):
    """Adds what a field of its own kind says: what it means is nobody's business here."""

    consumes = "of-a-plugin"


class OfAPluginMiscounts(Miscounts):
    """The same, and counts wrong."""

    consumes = "of-a-plugin"


def test_solvers_of_a_kind_that_core_does_not_know(fails_exactly):
    from flowloom.testing import check

    results = {r.name: r for r in check(OfAPlugin, KIND)}
    assert all(r.ok for r in results.values())
    assert results["check_given_entries_are_held"].status == "passed"
    fails_exactly(KIND, OfAPluginMiscounts, "check_evaluations_are_counted")


def test_wrong_nodes_are_caught(fails_exactly):
    fails_exactly(KIND, WrongNode, "check_order", ("check_order_on_the_sphere",))


def test_changed_start_is_caught(fails_exactly):
    others = ("check_constant_fields", "check_order", "check_order_on_the_sphere")
    others += ("check_product_states", "check_trajectory", "check_given_entries_are_held")
    fails_exactly(KIND, InPlace, "check_dtype_is_kept", others)


def test_entries_that_move_within_a_step_are_caught(fails_exactly):
    fails_exactly(KIND, Afterwards, "check_given_entries_are_held")


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
