"""Networks of policies: small perceptrons that read normalised observations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State, Time

__all__ = ["FlowPolicy", "GaussianPolicy", "RunningNorm", "ValueMLP"]


class RunningNorm(nn.Module):
    """Observations less their mean, over their deviation, of all that were counted so far.

    Args:
        size: numbers of an observation.
        limit: normalised ones are cut there.
    """

    count: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self, size: int, limit: float = 10.0) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("spread", torch.zeros(size, dtype=torch.float64))

    @torch.no_grad()
    def include(self, rows: Tensor) -> None:
        """Count rows ``(n, size)`` as well (Chan et al. 1979)."""
        rows = rows.to(self.mean)
        n, mean = len(rows), rows.mean(0)
        total, apart = self.count + n, mean - self.mean
        self.spread += (rows - mean).square().sum(0) + apart.square() * self.count * n / total
        self.mean += apart * n / total
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        """The same ``(n, size)`` normalised; only cut before anything was counted."""
        std = (self.spread / self.count.clamp_min(1)).sqrt()
        std = torch.where(std < 1e-6, torch.ones_like(std), std)  # what never changes keeps its scale
        normal: Tensor = ((x - self.mean.to(x)) / std.to(x)).clamp(-self.limit, self.limit)
        return normal


class _Observing(nn.Module):
    """A perceptron on the conditions that inform a network, and on what else it is given.

    Args:
        spec: of actions, with what is seen as conditions.
        more: numbers read beside them.
        out: numbers answered.
        width: hidden units.
        depth: hidden layers.
    """

    def __init__(self, spec: Spec, more: int, out: int, width: int, depth: int) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth)
        who = type(self).__name__
        if spec.parts or spec.discrete:
            raise IncompatibleError(f"{who} decides one tensor of numbers; the states are tokens or parts")
        self.spec, self.names = spec, spec.named("inform")
        for name in self.names:
            if spec.conditions[name].classes is not None:
                raise IncompatibleError(f"{who} reads observations in numbers, and '{name}' is a class")
        self.sizes = [max(1, math.prod(spec.conditions[name].shape)) for name in self.names]
        self.norm = RunningNorm(sum(self.sizes))
        layers: list[nn.Module] = []
        size = sum(self.sizes) + more
        for _ in range(depth):
            layers += [nn.Linear(size, width), nn.SiLU()]
            size = width
        self.body, self.out = nn.Sequential(*layers), nn.Linear(size, out)

    def seen(self, cond: dict[str, Tensor], like: Tensor) -> Tensor:
        """Normalised observations ``(n, size)``; what is not given is 0."""
        n, parts = len(like), []
        for name, size in zip(self.names, self.sizes, strict=True):
            value = cond.get(name)
            parts.append(like.new_zeros(n, size) if value is None else value.reshape(n, size).to(like))
        joined: Tensor = self.norm(torch.cat(parts, 1)) if parts else like.new_zeros(n, 0)
        return joined


class FlowPolicy(_Observing):
    """The network of a flow policy: observation, noisy action and features of the time side by side.

    Features are cos and sin of :math:`2^k t`, k from 0, and what it says is scaled, as in the code of flow
    policy optimisation (2507.21053): 4 layers of 32 units, 8 features, 0.25.

    Args:
        spec: of the actions.
        width: hidden units.
        depth: hidden layers.
        features: of the time, even.
        scale: of the answer.
    """

    def __init__(
        self, spec: Spec, width: int = 32, depth: int = 4, features: int = 8, scale: float = 0.25
    ) -> None:
        if features < 2 or features % 2:
            raise ValueError(f"features of the time are even and at least 2, got {features}")
        super().__init__(spec, spec.numel() + features, spec.numel(), width, depth)
        self.features, self.scale = features, scale

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Read an action at a time; see `flowloom.models.Model`."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        frequency = 2.0 ** torch.arange(self.features // 2, device=t.device, dtype=t.dtype)
        angle = (t.flatten(1).mean(1) if t.ndim > 1 else t)[:, None] * frequency
        read = torch.cat([self.seen(cond, x), x.flatten(1), angle.cos(), angle.sin()], 1)
        return self.scale * self.out(self.body(read)).reshape(x.shape)


class GaussianPolicy(_Observing):
    r"""A Gaussian policy as a flow of one Euler step, :math:`v(x) = m(o) + (s - 1)\,x`: x0 goes to m + s x0.

    The mean is a network's, and the deviation a learned number for every entry, as in PPO.

    Args:
        spec: of the actions.
        width: hidden units.
        depth: hidden layers.
        std: at the beginning.
    """

    def __init__(self, spec: Spec, width: int = 32, depth: int = 4, std: float = 1.0) -> None:
        if std <= 0:
            raise ValueError(f"std is positive, got {std}")
        super().__init__(spec, 0, spec.numel(), width, depth)
        self.log_std = nn.Parameter(torch.full((spec.numel(),), math.log(std)))

    def law(self, cond: dict[str, Tensor], like: Tensor) -> torch.distributions.Normal:
        """Of every entry of the actions under observations: ``(n, numel)``."""
        mean = self.out(self.body(self.seen(cond, like)))
        return torch.distributions.Normal(mean, self.log_std.exp().expand_as(mean), validate_args=False)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """The velocity of the only step."""
        assert isinstance(x, Tensor)
        law, flat = self.law(cond, x), x.flatten(1)
        moved: Tensor = law.loc + (law.scale - 1) * flat
        return moved.reshape(x.shape)


class ValueMLP(_Observing):
    """What an observation promises: one number a row; state and time are not read.

    Args:
        spec: of the actions.
        width: hidden units.
        depth: hidden layers.
    """

    def __init__(self, spec: Spec, width: int = 256, depth: int = 5) -> None:
        super().__init__(spec, 0, 1, width, depth)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Values ``(n,)``."""
        assert isinstance(x, Tensor)
        value: Tensor = self.out(self.body(self.seen(cond, x)))[:, 0]
        return value
