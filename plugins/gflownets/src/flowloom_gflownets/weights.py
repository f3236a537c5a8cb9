"""What the walks of a policy say of the partition function."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.seeds import generator as generator_of
from flowloom_gflownets.balance import Balance
from flowloom_gflownets.exact import log_partition
from flowloom_gflownets.trajectories import roll_out


class WalkWeights(Score):
    r"""Importance weights :math:`w = R \prod p_B / \prod p_F` of the policy's walks, of which Z is the mean.

    ``log_z_error`` is that of :math:`\log \frac1n \sum w`, ``bound_gap`` what the mean of log w is below
    log Z, ``learned_log_z_error`` that of the log Z which the objective learned; ``effective`` is the
    effective share of the sample, :math:`(\sum w)^2 / n \sum w^2`. Errors need an energy that knows its
    partition function; without one there are ``log_z`` and ``bound``.

    Args:
        n: walks.
    """

    of_data = False
    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "log_z_error": "lower",
        "bound_gap": "lower",
        "learned_log_z_error": "lower",
        "effective": "higher",
        "bound": "higher",
    }

    def __init__(self, n: int = 2000) -> None:
        if n < 1:
            raise ValueError(f"n counts walks from 1, got {n}")
        self.n = n

    def require(self, flow: Flow) -> None:
        """Ask for a policy."""
        if not isinstance(flow.objective, Balance):
            raise IncompatibleError(
                "score walk-weights needs a policy that walks: objective trajectory-balance, "
                "subtrajectory-balance or reverse-kl"
            )

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """All of them; the examples are counted, and not looked at: weights are of whole walks.

        Raises:
            ShapeError: there are none.
        """
        self.require(flow)
        if len(examples) == 0:
            raise ShapeError("score walk-weights: there is no sample to score")
        objective = flow.objective
        assert isinstance(objective, Balance)
        draws = generator_of(seed, "walk-weights", 0, flow.device)
        with flow.evaluating():
            root = objective.environment.root(self.n, flow.device, flow.dtype)
            walks = roll_out(objective.policy(flow.model), root, generator=draws)
            logs = objective.log_weights(flow.model, walks).double()
            learned = objective.log_z(flow.model)
        log_z, bound = float(logs.logsumexp(0)) - math.log(self.n), float(logs.mean())
        effective = float((2 * logs.logsumexp(0) - (2 * logs).logsumexp(0)).exp()) / self.n
        truth = log_partition(objective.environment)
        if truth is None:
            return {"effective": effective, "bound": bound, "log_z": log_z}
        found = {"log_z_error": abs(log_z - truth), "bound_gap": truth - bound, "effective": effective}
        return found if learned is None else {**found, "learned_log_z_error": abs(float(learned) - truth)}
