"""Games that the players played against themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.training.feeds import Replay
from flowloom_gflownets.balance import Balance
from flowloom_gflownets.environment import Environment
from flowloom_gflownets.policy import PolicyField
from flowloom_gflownets.trajectories import roll_out


class SelfPlay(Replay):
    """A buffer of finished games of a softened policy, new ones every so often (2310.02779, appendix).

    Args:
        environment: the game; injected from the recipe.
        capacity: games in the buffer.
        first: games before the first step.
        fresh: games a look.
        every: steps between looks.
        temperature: of the logits in self-play.
    """

    def __init__(
        self,
        environment: Environment,
        capacity: int = 25_000,
        first: int = 5000,
        fresh: int = 2500,
        every: int = 25,
        temperature: float = 2.0,
    ) -> None:
        spec = environment.spec
        super().__init__(capacity=capacity, fresh=fresh, every=every, shape=spec.shape, vocab=spec.vocab)
        if first < 1 or not temperature > 0:
            raise ValueError(
                f"first counts games from 1, and temperature is positive; got {first}, {temperature}"
            )
        self.environment, self.first, self.temperature = environment, first, temperature

    def collect(self, flow: Flow, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Games to the end.

        Raises:
            IncompatibleError: the flow is no policy.
        """
        if not isinstance(flow.objective, Balance):
            raise IncompatibleError("feed self-play plays with a policy; use objective adversarial-balance")
        field = PolicyField(flow.model, self.environment, flow.path.geometry, self.temperature)
        root = self.environment.root(self.fresh if self.kept else self.first, flow.device)
        return {"x": roll_out(field, root, generator=generator).ends}
