"""The network of a diffusion sampler: a control that knows the score, and a flow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.models.sizes import require_sizes
from flowloom_gflownets.environment import Environment


class Phased(nn.Module):
    """Sines and cosines of a time at frequencies from 0.1 to 100, with phases that learn: ``(n, 2 width)``.

    Args:
        width: frequencies.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.linspace(0.1, 100, width), persistent=False)
        self.phases = nn.Parameter(torch.randn(width))

    def forward(self, t: Tensor) -> Tensor:
        """Of times ``(n,)`` in [0, 1]."""
        angle = t[:, None] * self.frequencies + self.phases
        return torch.cat([angle.sin(), angle.cos()], -1)


class FourierMLP(nn.Module):
    """State and time, embedded and added, through ``depth`` layers; the last one is 0 at the start.

    Args:
        size_in: of a state.
        size_out: of an answer.
        width: of all layers.
        depth: hidden layers.
    """

    def __init__(self, size_in: int, size_out: int, width: int, depth: int) -> None:
        super().__init__()
        self.state, self.time = nn.Linear(size_in, width), Phased(width)
        self.embed = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
        layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.GELU())]
        self.body = nn.Sequential(nn.GELU(), *layers)
        self.out = nn.Linear(width, size_out)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Of ``(n, size_in)`` at ``(n,)``: ``(n, size_out)``."""
        answer: Tensor = self.out(self.body(self.state(x) + self.embed(self.time(t))))
        return answer


class DiffusionControl(nn.Module):
    r"""A control that is told the score, and a flow (2310.02679, section 4.1).

    .. math:: u = \mathrm{NN}_1(x, t) + c(t)\, \nabla \log R(x)

    Both parts of u are clipped. c is a network of the time alone that starts at 0.01. The flow is a network
    of its own, ``model.flow``, that can have its own rate.

    Args:
        environment: injected from the recipe.
        width: of all layers, and frequencies of the time.
        depth: hidden layers.
        clip: largest entry of either part.
        score: False for a control that is not told the score.
    """

    jvp_safe = False

    def __init__(
        self, environment: Environment, width: int = 64, depth: int = 2, clip: float = 1e4, score: bool = True
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth)
        if not clip > 0:
            raise ValueError(f"clip is positive, got {clip}")
        self.environment, self.spec, self.clip = environment, environment.spec, clip
        forward, backward = environment.heads
        size = environment.features(environment.root(1)).shape[1]
        self.drift = FourierMLP(size, forward + backward, width, depth)
        self.flow = FourierMLP(size, 1, width, depth)
        self.strength: nn.Sequential | None = None
        if score:
            layers = [layer for _ in range(2) for layer in (nn.GELU(), nn.Linear(width, width))]
            last = nn.Linear(width, 1)
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, 0.01)
            self.strength = nn.Sequential(
                Phased(width), nn.Linear(2 * width, width), *layers, nn.GELU(), last
            )

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Control and correction of the flow side by side, ``(n, d + 1)``, at times in [0, 1]."""
        return torch.cat([self.kernel(x, t), self.flow(self.environment.features(x), t.to(x))], -1)

    def kernel(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """The control alone, ``(n, d)``."""
        t = t.to(x)
        control: Tensor = self.drift(self.environment.features(x), t).clamp(-self.clip, self.clip)
        return control if self.strength is None else control + self.strength(t) * self._score(x)

    def _score(self, x: Tensor) -> Tensor:
        """``grad log R``, itself differentiable where the state is."""
        through = x.requires_grad and torch.is_grad_enabled()
        with torch.enable_grad():
            point = x if through else x.detach().requires_grad_()
            energy = self.environment.energy(point, {}).sum()
            (slope,) = torch.autograd.grad(energy, point, create_graph=through)
        return (-slope).nan_to_num().clamp(-self.clip, self.clip)
