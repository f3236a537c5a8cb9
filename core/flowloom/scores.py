"""Scores: what a trained flow says of examples that it has not seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom import likelihood
from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import read_as
from flowloom.flow import Flow
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.objectives import Loss, Step
from flowloom.seeds import generator as generator_of
from flowloom.solvers import Dopri5, Solver
from flowloom.state import Shape, shape_of
from flowloom.training.feeds.base import Feeding, coupled, paired

__all__ = ["HeldOutLoss", "Likelihood", "Score"]


class Score(ABC):
    """A judgement of a flow by given examples, where a metric judges drawn samples.

    ``better`` names every value the score returns and says which way is good; the first of them decides
    where one number must (early stopping).

    Attributes:
        about: what a value means, for reports, in a sentence; of those not listed the docstring says it.
        of_data: False where the flow is judged by what it is and draws, and not by held-out examples (a
            sampler of an energy). Recipes without data have such scores only, and hand them the flow's own
            samples.
        asks_solver: whether a value depends on the flow's solver or its guidance. Where training is
            validated by a score that does not, its weights are the same by any solver.
    """

    of_data: ClassVar[bool] = True
    asks_solver: ClassVar[bool] = True
    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {}
    about: ClassVar[Mapping[str, str]] = {}

    def require(self, flow: Flow) -> None:  # noqa: B027  (many scores suit every flow)
        """Ask, before anything is trained, whether ``flow`` can be scored.

        Raises:
            IncompatibleError: it cannot; the message says why, and what would fit.
        """

    @abstractmethod
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """Score examples.

        Args:
            flow: a trained flow; it comes back as it was.
            examples: states as the flow's codec encodes them, on the device of the model, with their
                conditions; the data themselves where the objective encodes by itself.
            seed: of everything random.

        Returns:
            Named values, means over the examples.
        """


class Likelihood(Score):
    r"""Mean negative log likelihood by the change of variables, in nats (see `flowloom.likelihood`).

    .. math:: \mathrm{nll} = -\frac1n \sum_i \log p_1(x_i)

    ``nats_per_dim`` is the same divided by the degrees of freedom of an example. The density is with respect
    to the volume of the geometry, of the field that samples come from (guidance included); where a codec
    stands between data and states, it is that of the states.

    Args:
        solver: an ODE solver; in a recipe, the recipe's own where none is given. The figure is as exact as
            the solver, so an adaptive one is advisable.
        n: score so many examples, spread evenly; all of them where None.
        divergence: ``exact``, or ``hutchinson`` with one random probe a row: unbiased, and as dear as a few
            evaluations in any dimension.
        batch: examples at a time.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"nll": "lower", "nats_per_dim": "lower"}

    def __init__(
        self,
        solver: Solver | None = None,
        n: int | None = None,
        divergence: likelihood.Divergence = "exact",
        batch: int = 1024,
    ) -> None:
        if batch < 1 or (n is not None and n < 1):
            raise ValueError(f"n and batch must be at least 1, got n={n} and batch={batch}")
        self.solver: Solver = solver or Dopri5(1e-5, 1e-5)
        self.n, self.divergence, self.batch = n, divergence, batch

    def require(self, flow: Flow) -> None:
        """Ask for an ODE on a continuous space and a source with a density, or a field that tells its own."""
        field = flow.field()
        if field.has_density:
            return
        if not flow.geometry.continuous:
            raise IncompatibleError(
                "score likelihood: discrete states have no change-of-variables likelihood"
            )
        if self.solver.stochastic or self.solver.wanted() != "velocity":
            raise IncompatibleError(
                f"score likelihood needs an ODE solver, not {type(self.solver).__name__}; "
                "write {use: likelihood, solver: dopri5}"
            )
        read_as(field, "velocity")
        if gap := flow.source.density_gap:
            raise IncompatibleError(f"score likelihood: {gap}")

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``nll`` and, where the geometry says its dimension, ``nats_per_dim``."""
        self.require(flow)
        if self.n is not None and len(examples):
            examples = examples.take(examples.evenly(self.n))
        count = len(examples)
        if count == 0:
            raise ShapeError("score likelihood: there is no example to score")
        total = 0.0
        with flow.evaluating():
            for i, rows in enumerate(torch.arange(count).split(self.batch)):
                part = examples.take(rows)
                log_density = flow.log_prob(
                    part.x, solver=self.solver, divergence=self.divergence, seed=seed + i, **part.cond
                )
                total += float(log_density.double().sum())
        values = {"nll": -total / count}
        assert flow.geometry is not None
        # Some geometries do not say their dimension.
        with suppress(NotImplementedError):
            values["nats_per_dim"] = values["nll"] / _freedom(
                flow.geometry, examples, flow.layout(examples.cond)
            )
        return values


def _freedom(geometry: Geometry, examples: Examples, layout: Layout | None) -> float:
    """Degrees of freedom of an example, on average over those of different size.

    Raises:
        NotImplementedError: the geometry does not say, or examples are products of different size.
    """
    x = examples.x
    if layout is None:
        return geometry.degrees_of_freedom(_event(shape_of(x)))
    if not isinstance(x, Tensor) or geometry.dim is None:
        raise NotImplementedError
    ones = torch.ones(x.shape[: x.ndim - geometry.point_ndim], device=x.device)
    return float(layout.sum(ones).mean()) * geometry.dim


class HeldOutLoss(Score):
    """What the objective itself says of held-out examples: its loss, and the parts that it logs.

    The one score that every flow has, and the table of those from which nothing is sampled: of a classifier
    it has ``accuracy`` and ``cross_entropy``, of an autoencoder ``reconstruction``. Several named losses are
    summed. Times and noise are drawn from the seed, so that two flows are asked at the same points.

    Args:
        draws: times and noises for every example.
        batch: examples at a time.
    """

    asks_solver = False
    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "loss": "lower",
        "accuracy": "higher",
        "cross_entropy": "lower",
        "reconstruction": "lower",
    }
    about: ClassVar[Mapping[str, str]] = {
        "loss": "The objective's own loss of held-out examples.",
        "accuracy": "Share of held-out examples whose class the network tells.",
        "cross_entropy": "Mean negative log probability of the class, in nats.",
        "reconstruction": "Mean absolute difference of an example and its reconstruction.",
    }

    def __init__(self, draws: int = 4, batch: int = 1024) -> None:
        if draws < 1 or batch < 1:
            raise ValueError(f"draws and batch must be at least 1, got {draws} and {batch}")
        self.draws, self.batch = draws, batch

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``loss``, and what the objective logs beside it."""
        if not len(examples):
            raise ShapeError("score held-out-loss: there is no example to score")
        feeding = Feeding(flow, self.batch, seed, flow.device)
        made = coupled if flow.objective.encodes else paired
        totals: dict[str, float] = {}
        with flow.evaluating():
            for number, rows in enumerate(torch.arange(len(examples)).split(self.batch)):
                for draw in range(self.draws):
                    # On the device of the flow, where everything is drawn.
                    draws = generator_of(seed, f"held-out-loss/{draw}", number, flow.device)
                    batch = made(feeding, examples.take(rows), draws)
                    loss = flow.objective.loss(flow.model, batch, Step(generator=draws, average=lambda: flow))
                    for name, value in {"loss": _summed(loss), **loss.parts}.items():
                        totals[name] = totals.get(name, 0.0) + float(value) * len(rows)
        return {name: total / len(examples) / self.draws for name, total in totals.items()}


def _summed(loss: Loss) -> Tensor:
    total = loss.total
    return total if isinstance(total, Tensor) else torch.stack(list(total.values())).sum()


def _event(shape: Shape) -> Shape:
    """The shape of one example, from that of a batch."""
    return {k: _event(v) for k, v in shape.items()} if isinstance(shape, dict) else shape[1:]
