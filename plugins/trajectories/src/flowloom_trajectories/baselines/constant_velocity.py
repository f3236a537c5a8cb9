"""Going on as before."""

from __future__ import annotations

import torch

from flowloom.baselines import Baseline
from flowloom.data import Examples
from flowloom_trajectories.baselines.told import context_of

__all__ = ["ConstantVelocity"]


class ConstantVelocity(Baseline):
    r"""The last step again and again, :math:`\hat y_t = p_0 + t\,(p_0 - p_{-1})` (Schöller, 1903.07933).

    With an ``angle`` every draw turns that step by a normal angle, which makes best-of-K of it the strong
    baseline of that paper (25 degrees there).

    Args:
        past: the condition ``(observed, d)`` that ends right before the state.
        angle: standard deviation of the turn in degrees, for ways in the plane; 0 draws nothing.
        name: of its column.
    """

    def __init__(self, past: str = "past", angle: float = 0.0, name: str = "") -> None:
        if angle < 0:
            raise ValueError(f"angle must not be negative, got {angle}")
        self.past, self.angle, self.name = past, angle, name

    def __call__(self, asked: Examples, generator: torch.Generator) -> Examples:
        """Straight ways."""
        told, x = context_of(asked, self.past, "constant-velocity", 2)
        step = told[:, -1] - told[:, -2]
        if self.angle and step.shape[-1] == 2:
            turn = torch.deg2rad(self.angle * torch.randn(len(step), generator=generator)).to(step.dtype)
            a, b = step.unbind(-1)
            step = torch.stack([a * turn.cos() - b * turn.sin(), a * turn.sin() + b * turn.cos()], -1)
        count = torch.arange(1, x.shape[1] + 1, dtype=step.dtype)
        way = told[:, -1:] + count[:, None] * step[:, None]
        return Examples(way.to(x.dtype), asked.cond, asked.layout)
