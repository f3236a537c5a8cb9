"""Diff2Flow: a diffusion network, as it was trained, read as the velocity of a straight path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields.base import uniform_kind
from flowloom.models import Model, speak_for
from flowloom.paths import AffinePath, Path
from flowloom.schedules import CondOT, Schedule
from flowloom.spec import Spec
from flowloom.state import State, Time, expand

__all__ = ["Diff2Flow"]


class Diff2Flow(nn.Module):
    r"""A diffusion's network as one of a straight flow (Schusterbauer et al. 2506.02221), weights unchanged.

    A state of the diffusion over :math:`a + b` lies on the straight path, at :math:`t = a / (a + b)`:

    .. math::
        x_n = (a_n + b_n)\, x_t, \qquad \hat x_1, \hat x_0 = \text{what the network says at } (x_n, n), \qquad
        v(x_t, t) = \hat x_1 - \hat x_0

    with :math:`a, b` the diffusion's weights of data and noise, :math:`\hat x_1 = (x_n - b \hat x_0) / a` for
    predicted noise, and :math:`\hat x_1 = a x_n - b w, \hat x_0 = a w + b x_n` for ``v``, the diffusion's w.
    Index n and scale are those of a table of ``table`` steps, linearly interpolated, as in the paper.
    Gradients reach the network, so that ordinary flow matching trains it on. Guidance of the flow is that of
    the diffusion, both being linear in the prediction.

    Where a schedule leaves data at its first time, the straight path has times before it, at which the
    network was never trained. The paper rescales the schedule to end in pure noise; here the network is asked
    at its first time, with the state scaled to the noise that it knows there.

    Args:
        spec: of the states, one real tensor; injected from the recipe.
        network: of the diffusion, told times of [0, 1] with data at 1; trained, ``{run: base, part: model,
            frozen: false}``.
        schedule: that it was trained on; a variance-preserving one for ``v``.
        predict: what it answers with.
        table: steps of the table.

    Raises:
        IncompatibleError: states are tokens or have parts.
        ValueError: the table has less than two steps.
    """

    conditional = True
    times: Tensor
    scales: Tensor

    def __init__(
        self,
        spec: Spec,
        network: Model,
        schedule: Schedule,
        predict: Literal["noise", "data", "v"] = "noise",
        table: int = 1000,
    ) -> None:
        super().__init__()
        assert isinstance(network, nn.Module)
        if spec.parts or spec.discrete:
            raise IncompatibleError(
                "diff2flow scales one tensor of numbers; the states are tokens or have parts"
            )
        if table < 2:
            raise ValueError(f"table must have at least 2 steps, got {table}")
        self.spec, self.network, self.schedule = spec, network, schedule
        self.predict: Literal["noise", "data", "v"] = predict
        grid = torch.linspace(0, 1, table + 1, dtype=torch.float64, device="cpu")
        a, b = schedule.alpha(grid), schedule.sigma(grid)
        # Functions of the arguments, so not part of a checkpoint.
        self.register_buffer("times", a / (a + b), persistent=False)
        self.register_buffer("scales", a + b, persistent=False)
        speak_for(self, network)

    def warp(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Times of the diffusion in [0, 1], and scales, for straight times: ``(batch,)`` each."""
        knots, scales = self.times.to(t.dtype), self.scales.to(t.dtype)
        inside = t.clamp(knots[0], knots[-1])
        right = torch.searchsorted(knots, inside.contiguous(), right=True).clamp(1, len(knots) - 1)
        low, high = knots[right - 1], knots[right]
        share = (inside - low) / (high - low)
        scale = torch.lerp(scales[right - 1], scales[right], share)
        early = torch.where(t < knots[0], (1 - knots[0]) / (1 - t), torch.ones_like(t))
        return (right - 1 + share) / (len(knots) - 1), scale * early

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """The velocity ``(batch, *event)`` at straight times ``(batch,)``."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        precise = t if t.dtype == torch.float64 else t.float()
        time, scale = self.warp(precise)
        there = time.clamp(1e-4, 1 - 1e-4)
        a, b = (expand(w(there).to(x.dtype), x) for w in (self.schedule.alpha, self.schedule.sigma))
        state = expand(scale.to(x.dtype), x) * x
        said: State = self.network(state, time.to(t.dtype), **cond)
        assert isinstance(said, Tensor)
        if self.predict == "noise":
            return (state - b * said) / a - said
        if self.predict == "data":
            return said - (state - a * said) / b
        return (a - b) * state - (a + b) * said

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Paths that are not straight; objectives that predict something else."""
        path, objective = parts.get("path"), parts.get("objective")
        if isinstance(path, Path) and not (
            isinstance(path, AffinePath) and path.geometry.straight and isinstance(path.schedule, CondOT)
        ):
            yield Clash(
                "model",
                "path",
                "diff2flow answers with velocities of the straight path; use path: {use: affine, schedule: "
                "cond-ot}, and give the diffusion's schedule to the model",
            )
        kind = getattr(objective, "kind", "velocity")
        if uniform_kind(kind) in ("noise", "data"):
            yield Clash("model", "objective", "diff2flow answers with velocities; use predict: velocity")
