"""Laws of restorers, asked of the recipe's flow."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.testing.flows import offers
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom_inverse.operators import AveragePool, Masking, Operator
from flowloom_inverse.problem import Problem
from flowloom_inverse.restorers.base import Restorer, one_tensor

N = 6


def _posed(make: Make, context: Context) -> tuple[Restorer, Problem, Tensor]:
    """The restorer, a problem of the first flow that it can be told of, and the truth."""
    refusal = "nothing was offered"
    for offer in offers(context):
        for operator in (AveragePool(2, dims=(-1,)), Masking()):
            try:
                problem, truth = _problem(operator, offer, context)
                restorer = make().of(problem)
                offer.flow.solve(N, solver=restorer, seed=0)
            except IncompatibleError as error:
                refusal = str(error)
                continue
            return restorer, problem, truth
    raise NotApplicable(f"it refuses every flow that is offered; the last because: {refusal}")


def _problem(operator: Operator, offer, context: Context) -> tuple[Problem, Tensor]:  # type: ignore[no-untyped-def]  # noqa: ANN001
    operator.require(offer.data.spec)
    rows = offer.data.take(torch.arange(N))
    assert isinstance(rows.x, Tensor)
    drawn = operator.draw(Examples(rows.x), offer.data.spec, context.generator(1))
    x = rows.x.to(offer.flow.dtype)
    return Problem(offer.flow, operator, operator(x, drawn), drawn, 0.1), x


@law("answers are finite states, one for each row that was measured")
def check_answers_fit(make: Make, context: Context) -> None:
    """In the shape of the flow's states."""
    restorer, problem, _ = _posed(make, context)
    x = one_tensor(problem.flow.solve(N, solver=restorer, seed=1).x)
    context.holds("one state a row", tuple(x.shape) == (N, *problem.flow.spec.shape), f"{tuple(x.shape)}")
    context.holds("answers are finite", x.isfinite().all())


@law("the same seed gives the same answer, and the global generator is left alone")
def check_is_deterministic(make: Make, context: Context) -> None:
    """Whatever the global generator holds."""
    restorer, problem, _ = _posed(make, context)
    first = one_tensor(problem.flow.solve(N, solver=restorer, seed=1).x)
    torch.rand(1)
    before = torch.random.get_rng_state()
    again = one_tensor(problem.flow.solve(N, solver=restorer, seed=1).x)
    context.within("answers when asked again", (first - again).abs(), 0)
    context.holds("the global generator is left", torch.equal(before, torch.random.get_rng_state()))


@law("answers fit what was measured better than rows that nobody asked for")
def check_answers_depend_on_the_measurement(make: Make, context: Context) -> None:
    """The misfit of the answers, beside that of the answers to other rows."""
    restorer, problem, _ = _posed(make, context)
    x = one_tensor(problem.flow.solve(N, solver=restorer, seed=1).x)
    fit, other = problem.squares(x).mean(), problem.squares(x.roll(1, 0)).mean()
    context.holds("the misfit is below that of another row's answer", fit < other, f"{fit:.3g}, {other:.3g}")


@law("a problem is told, and none is refused in one line")
def check_needs_a_problem(make: Make, context: Context) -> None:
    """And telling one leaves the restorer as it was."""
    _, problem, _ = _posed(make, context)
    alone = make()
    alone.of(problem)
    try:
        problem.flow.solve(N, solver=alone, seed=1)
    except IncompatibleError as refusal:
        context.holds("the refusal is one line", "\n" not in str(refusal))
        return
    context.holds("a restorer without a problem refuses", False)
