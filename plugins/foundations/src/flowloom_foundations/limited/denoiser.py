"""The two-layer denoiser of the theory, fitted exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowloom.data import Dataset
from flowloom.errors import DataError, IncompatibleError
from flowloom.spec import Spec

if TYPE_CHECKING:
    from flowloom.flow import Flow


class TwoClusterDenoiser(nn.Module):
    r"""A tied two-layer denoiser with a skip, one for each of a grid of times (2310.03575).

    .. math:: f_t(x) = c_t x + w_t\,\mathrm{sign}(w_t \cdot x), \qquad
        \min_{c, w} \sum_i |f(x_{t,i}) - x_{1,i}|^2 + \lambda |w|^2

    over n pairs (x0, x1) that are drawn **once**: fresh noise for every time is another theory, ``fresh:
    true``. The signs given, it is a least squares problem of one unknown; signs and solution alternate
    from the side of the data until they agree. Use with ``objective: fitted``; the answer is the velocity
    :math:`(f(x) - x) / (1 - t)` of the straight path, exact on the grid of ``solver: {use: euler, steps:
    STEPS}``.

    Args:
        spec: of the data; injected from the recipe.
        steps: of the grid k / steps.
        decay: :math:`\lambda`.
        fresh: whether noise is drawn anew for every time.

    Raises:
        IncompatibleError: states are no vectors.
    """

    batch_independent = True
    compile_safe = False
    bf16_safe = False

    skip: Tensor
    weight: Tensor

    def __init__(self, spec: Spec, steps: int = 100, decay: float = 0.1, fresh: bool = False) -> None:
        super().__init__()
        if spec.parts or spec.vocab is not None or len(spec.shape) != 1:
            raise IncompatibleError(f"two-cluster-denoiser takes vectors, not {spec.shape}")
        self.spec, self.steps, self.decay, self.fresh = spec, steps, decay, fresh
        self.register_buffer("skip", torch.zeros(steps))
        self.register_buffer("weight", torch.zeros(steps, spec.shape[0]))

    @torch.no_grad()
    def fit(self, data: Dataset | None, flow: Flow | None, generator: torch.Generator) -> None:
        """Solve for every time.

        Raises:
            DataError: there are fewer than two rows.
        """
        if data is None or len(data) < 2:
            raise DataError("two-cluster-denoiser is fitted to two rows or more")
        x1 = data.take(torch.arange(len(data))).x
        assert isinstance(x1, Tensor)
        x1 = x1.double().to(self.weight.device)

        def noise() -> Tensor:
            return torch.randn(x1.shape, generator=generator, dtype=torch.float64).to(x1.device)

        x0, n = noise(), len(x1)
        # Either sign of w is the same function: the side of the first row is taken for positive.
        side = (x1 @ x1[0]).sign()
        for k in range(self.steps):
            t = k / self.steps
            x = (1 - t) * (noise() if self.fresh else x0) + t * x1
            signs = side
            for _ in range(50):
                # w minimises given c, w = sum_i s_i (x1 - c x) / (n + decay); c then in one division.
                a, b = (signs[:, None] * x1).sum(0), (signs[:, None] * x).sum(0)
                total = n + self.decay
                skip = ((x * x1).sum() - a @ b / total) / (x.square().sum() - b @ b / total)
                weight = (a - skip * b) / total
                agreed = (x @ weight).sign()
                if torch.equal(agreed, signs):
                    break
                signs = agreed
            self.skip[k], self.weight[k] = skip, weight

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Velocities ``(batch, d)``; times fall back on the grid point before them."""
        k = (t.detach() * self.steps + 1e-3).long().clamp(0, self.steps - 1)
        skip, weight = self.skip.to(x)[k, None], self.weight.to(x)[k]
        sign = (x * weight).sum(1, keepdim=True).sign()
        clean = skip * x + weight * sign
        return (clean - x) / (1 - t[:, None]).clamp_min(0.5 / self.steps)
