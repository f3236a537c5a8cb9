"""Jump processes for discrete states."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.paths import MixturePath, Path, ProductPath
from flowloom.solvers.base import Evaluator, FixedGrid
from flowloom.state import State


class CTMCEuler(FixedGrid):
    r"""Euler steps of the continuous-time Markov chain of a mixture path (Gat et al. 2407.15595).

    With the rate :math:`\lambda = \dot\kappa_t/(1-\kappa_t)`, a token jumps within a step of length h with
    probability :math:`1 - e^{-h\lambda}`, and then to a draw of the posterior. Draws are made only where a
    jump happens, which is the same law at a fraction of the cost. The last step draws every token from the
    posterior.

    Args:
        steps: number of equal steps.
        grid: times to walk instead.
        temperature: divides the logits; below 1 sharpens.
    """

    consumes = "posterior"
    order = 1
    stochastic = True

    def __init__(
        self, steps: int = 64, grid: Sequence[float] | None = None, temperature: float = 1.0
    ) -> None:
        super().__init__(steps, grid)
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def prepare(self, field: Field) -> Field:
        """The posterior field; checks its path."""
        for path in _leaf_paths(field.path):
            if not isinstance(path, MixturePath):
                raise IncompatibleError(
                    f"ctmc-euler needs path: mixture, whose jump rate it follows; got {type(path).__name__}"
                )
        return super().prepare(field)

    def step(
        self,
        evaluate: Evaluator,
        x: State,
        t: float,
        t_next: float,
        *,
        last: bool,
        generator: torch.Generator | None,
    ) -> State:
        """One step with one network evaluation."""
        return self.advance(evaluate(x, t), x, evaluate.field.path, t, t_next, last, generator)

    def advance(
        self,
        logits: State,
        x: State,
        path: Path | None,
        t: float,
        t_next: float,
        last: bool,
        generator: torch.Generator | None,
    ) -> State:
        """Jump given the posterior's logits."""
        if isinstance(x, dict):
            assert isinstance(logits, dict) and isinstance(path, ProductPath)
            return {
                k: self.advance(logits[k], v, path.parts[k], t, t_next, last, generator) for k, v in x.items()
            }
        assert isinstance(logits, Tensor) and isinstance(path, MixturePath)
        if last:
            return draw(logits, self.temperature, generator)
        rate = float(path.rate(torch.tensor(t, dtype=torch.float64)))
        probability = -math.expm1(-(t_next - t) * rate)
        uniform = torch.rand(x.shape, generator=generator, device=x.device)
        jumping = (uniform < probability).nonzero(as_tuple=True)
        moved = x.clone()
        moved[jumping] = draw(logits[jumping], self.temperature, generator)
        return moved


def draw(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """One token from each row of logits: ``(*shape, vocab) -> (*shape)``."""
    flat = logits.flatten(0, -2).float()
    if flat.shape[0] == 0:
        return torch.zeros(logits.shape[:-1], dtype=torch.long, device=logits.device)
    p = torch.softmax(flat / temperature, -1)
    return torch.multinomial(p, 1, generator=generator).reshape(logits.shape[:-1])


def _leaf_paths(path: Path | None) -> list[Path | None]:
    if isinstance(path, ProductPath):
        return [leaf for part in path.parts.values() for leaf in _leaf_paths(part)]
    return [path]
