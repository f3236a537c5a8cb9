r"""Mixture paths that pass through noise: x0, uniform tokens and x1 at once."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.geometry import Geometry
from flowloom.paths import MixturePath, Point
from flowloom.schedules import Schedule
from flowloom.sources import Source
from flowloom.state import State, Time, expand


class NoisyMixturePath(MixturePath):
    r"""Each token is x1, a uniform token or x0, independently.

    The three-term path of Gat et al. 2407.15595, with the shares

    .. math:: \kappa^1 = \kappa, \quad \kappa^2 = c\,\kappa(1-\kappa), \quad \kappa^3 = (1-\kappa)(1-c\kappa).

    Tokens that show something may be noise, so under the mask source too the model learns to doubt and
    replace what stands there, which plain masks never do. From
    :math:`\dot\kappa^j - \kappa^j \dot\kappa^3/\kappa^3` every token jumps at

    .. math:: \lambda = -\dot\kappa^3 / \kappa^3
        = \dot\kappa \Big(\frac{1}{1-\kappa} + \frac{c}{1-c\kappa}\Big),

    to the posterior or, less and less often, to a uniform token. While the posterior is held fixed, a step
    from t to t' leaves a token alone with probability :math:`r = \kappa^3_{t'}/\kappa^3_t`, and makes it
    uniform with probability :math:`\kappa^2_{t'} - r \kappa^2_t`, exactly.

    Args:
        geometry: the discrete space; injected from the recipe.
        noise: c in [0, 1); at most c/4 of the tokens are uniform noise, half way.
        schedule: its alpha is kappa.
        source: the law of x0, injected from the recipe.
    """

    def __init__(
        self,
        geometry: Geometry,
        noise: float = 0.4,
        schedule: Schedule | None = None,
        source: Source | None = None,
    ) -> None:
        super().__init__(geometry, schedule, source)
        if not 0 <= noise < 1:
            raise ValueError(f"noise must lie in [0, 1), got {noise}")
        self.noise = noise
        self.absorbing = False  # every token may still move

    def shares(self, t: float) -> tuple[float, float, float]:
        """Shares of x1, noise and x0 at ``t``."""
        kappa = float(self.schedule.alpha(torch.tensor(t, dtype=torch.float64)))
        return kappa, self.noise * kappa * (1 - kappa), (1 - kappa) * (1 - self.noise * kappa)

    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """Draw which tokens have arrived and which are noise; ``velocity`` is None."""
        if not isinstance(x0, Tensor) or not isinstance(x1, Tensor) or not isinstance(t, Tensor):
            raise IncompatibleError("path noisy-mixture carries one tensor of tokens")
        kappa = expand(self.schedule.alpha(t), x1)
        u = torch.rand(x1.shape, generator=generator, device=x1.device)
        fresh = torch.randint(self.vocab, x1.shape, generator=generator, device=x1.device)
        rest = torch.where(u < kappa + self.noise * kappa * (1 - kappa), fresh, x0)
        return Point(torch.where(u < kappa, x1, rest), t, None, x0, x1)

    def rate(self, t: Tensor) -> Tensor:
        """lambda above."""
        kappa, slope = self.schedule.alpha(t), self.schedule.d_alpha(t)
        return slope / (1 - kappa).clamp_min(0) + self.noise * slope / (1 - self.noise * kappa)

    def arrival(self, t: float, t_next: float) -> float:
        """Probability ``1 - r`` that a token jumps within the step."""
        before, after = self.shares(t)[2], self.shares(t_next)[2]
        return min(1.0, max(0.0, 1 - after / before)) if before > 0 else 1.0

    def noise_share(self, t: float, t_next: float) -> float:
        """Share of the jumps within the step that end on a uniform token."""
        (_, noise, kept), (_, noise_next, kept_next) = self.shares(t), self.shares(t_next)
        if kept <= kept_next:
            return 0.0
        r = kept_next / kept
        return min(1.0, max(0.0, (noise_next - r * noise) / (1 - r)))

    def departure(self, t: float, t_next: float) -> float:
        """Refused: the way back is not known in closed form."""
        raise IncompatibleError("path noisy-mixture runs forward only; use path: mixture")

    def backward_rate(self, t: float) -> float:
        """Refused: this path corrects itself without going back to the source."""
        raise IncompatibleError("path noisy-mixture has no corrector steps; use path: mixture for those")
