r"""The closed form of what a two-layer denoiser learns from n samples of two clusters (2310.03575).

Data :math:`x_1 = s\mu + \sigma z` with :math:`s = \pm1` and :math:`|\mu|^2 = d`, on the path
:math:`x_t = \beta x_0 + \alpha x_1`, as d grows and n stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowloom.errors import IncompatibleError


@dataclass(frozen=True)
class Overlaps:
    r"""A mean as :math:`M\mu + Q_\eta\,\sigma\eta + Q_\xi\,\xi` with :math:`|\eta|^2 = |\xi|^2 = d / n`.

    Args:
        mu: M.
        eta: of the mean of the samples' signed deviations.
        xi: of the mean of their signed noises.
    """

    mu: float
    eta: float
    xi: float

    def error(self, n: int, sigma: float) -> float:
        r"""Squared distance to :math:`\mu` over d: :math:`(M-1)^2 + (\sigma^2 Q_\eta^2 + Q_\xi^2) / n`."""
        return (self.mu - 1) ** 2 + (sigma**2 * self.eta**2 + self.xi**2) / n


def coefficients(alpha: float, beta: float, n: int, sigma: float, decay: float) -> tuple[float, Overlaps]:
    r"""The skip c and the direction w of the denoiser :math:`cx + w\,\mathrm{sign}(w \cdot x)` (result
    3.1).

    With :math:`\lambda` the decay of w, and both fitted to n fixed pairs,

    .. math:: D = \beta^2(\lambda + n - 1) + \alpha^2[\lambda(1 + \sigma^2) + (n - 1)\sigma^2], \qquad
        c = \alpha\,\frac{\lambda(1 + \sigma^2) + (n - 1)\sigma^2}{D},

    .. math:: w = \frac{n}{n + \lambda}\big[(1 - c\alpha)(\mu + \sigma\eta) - c\beta\,\xi\big].

    Args:
        alpha: of the data on the path.
        beta: of the noise on the path.
        n: samples.
        sigma: of the clusters.
        decay: :math:`\lambda`.
    """
    inner = decay * (1 + sigma**2) + (n - 1) * sigma**2
    skip = alpha * inner / (beta**2 * (decay + n - 1) + alpha**2 * inner)
    share = n / (n + decay)
    w = share * (1 - skip * alpha)
    return skip, Overlaps(w, w, -share * skip * beta)


def generated(n: int, sigma: float, decay: float, steps: int) -> Overlaps:
    r"""The mean of the generated cluster, by Euler steps from t = 0 on the path :math:`\alpha = t, \beta =
    1 - t`.

    A sample keeps its side, so its overlaps obey linear equations: with the velocity
    :math:`(\beta'/\beta)x + (\alpha' - \beta'\alpha/\beta) f(x)`,

    .. math:: \dot M = G M + Z m, \quad G = Zc + \beta'/\beta, \quad Z = \alpha' - \beta'\alpha/\beta,

    where m is that of w; the same for :math:`\eta` and :math:`\xi` (result 4.1).

    Args:
        n: samples.
        sigma: of the clusters.
        decay: :math:`\lambda`.
        steps: of the solver whose samples are compared.
    """
    if n < 2:
        raise IncompatibleError(f"the theory needs two samples or more, got {n}")
    mu = eta = xi = 0.0
    for k in range(steps):
        t = k / steps
        skip, w = coefficients(t, 1 - t, n, sigma, decay)
        z = 1 / (1 - t)
        g = z * skip - 1 / (1 - t)
        mu, eta, xi = (m + (g * m + z * v) / steps for m, v in ((mu, w.mu), (eta, w.eta), (xi, w.xi)))
    return Overlaps(mu, eta, xi)


def bayes(n: int, sigma: float) -> float:
    r"""Error of the posterior mean of :math:`\mu` from n samples: :math:`\sigma^2 / (n + \sigma^2)`."""
    return sigma**2 / (n + sigma**2)
