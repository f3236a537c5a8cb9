"""How far the policy's own law is from the reward's, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom_gflownets.balance import Balance
from flowloom_gflownets.exact import law_of, target_of
from flowloom_gflownets.policy import PolicyField


class ExactGap(Score):
    r"""Distances to :math:`R/Z` by dynamic programming over all states; no samples are drawn.

    ``l1`` is :math:`\sum_x |p(x) - R(x)/Z|` (twice the total variation, ``total_variation``), ``log_z_error``
    the absolute error of the learned log Z in nats.
    """

    of_data = False
    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "l1": "lower",
        "total_variation": "lower",
        "log_z_error": "lower",
    }

    def require(self, flow: Flow) -> None:
        """Ask for a policy in an environment that can be enumerated."""
        if not isinstance(flow.objective, Balance):
            raise IncompatibleError(
                "score exact-gap needs a policy: objective trajectory-balance, detailed-balance or "
                "gfn-flow-matching"
            )
        try:
            flow.objective.environment.states()
        except NotImplementedError as error:
            raise IncompatibleError(
                f"score exact-gap: {error}; an environment that lists all states (states, index) has it, "
                "any other takes score walk-weights"
            ) from error

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """All three; the examples are counted, and not looked at.

        Raises:
            ShapeError: there are none.
        """
        self.require(flow)
        if len(examples) == 0:
            raise ShapeError("score exact-gap: there is no sample to score")
        objective, field = flow.objective, flow.field()
        assert isinstance(objective, Balance)
        assert isinstance(field, PolicyField)
        target = target_of(objective.environment)
        with flow.evaluating():
            l1 = float((law_of(field) - target.probabilities).abs().sum())
            log_z = objective.log_z(flow.model)
        found = {"l1": l1, "total_variation": l1 / 2}
        return found if log_z is None else {**found, "log_z_error": abs(float(log_z) - target.log_z)}
