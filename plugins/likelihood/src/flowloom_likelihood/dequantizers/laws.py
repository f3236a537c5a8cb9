"""Laws of dequantisers."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.testing.laws import Context, Make, law
from flowloom_likelihood.dequantizers.base import Dequantizer
from flowloom_likelihood.field import normal_log_prob

ROWS = 3


def _fresh(make: Make, context: Context) -> tuple[Dequantizer, Tensor, Tensor]:
    """One in double precision whose parameters are not those that it starts with, noise, and middles."""
    dequantizer: Dequantizer = make().double().eval()
    draws = context.generator(1)
    spec = getattr(dequantizer, "spec", None)
    shape = (ROWS, *(spec.shape if spec is not None else (2, 2, 2)))
    noise = torch.randn(shape, generator=draws, dtype=torch.float64)
    x = torch.rand(shape, generator=draws, dtype=torch.float64) - 0.5
    with torch.no_grad():
        for parameter in dequantizer.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws, dtype=torch.float64))
    return dequantizer, noise, x


@law("places lie within their cells")
def check_within(make: Make, context: Context) -> None:
    """In [0, 1], in the shape of the data, with one log density a row."""
    dequantizer, noise, x = _fresh(make, context)
    with torch.no_grad():
        u, log_q = dequantizer.place(noise, x, {})
    context.holds("u has the shape of x", u.shape == x.shape, f"shape {tuple(u.shape)}")
    context.holds("log q has one number a row", log_q.shape == (ROWS,), f"shape {tuple(log_q.shape)}")
    context.holds("u lies in [0, 1]", bool(((u >= 0) & (u <= 1)).all()))


@law("log q is the density of what is drawn")
def check_density(make: Make, context: Context) -> None:
    """``log N(noise) - log |det du/dnoise|``, against autograd, row by row."""
    dequantizer, noise, x = _fresh(make, context)
    _, said = dequantizer.place(noise, x, {})
    for i in range(ROWS):

        def flat(eps: Tensor, i: int = i) -> Tensor:
            return dequantizer.place(eps.reshape(1, *noise.shape[1:]), x[i : i + 1], {})[0].flatten()

        jacobian = torch.autograd.functional.jacobian(flat, noise[i].flatten())
        wanted = normal_log_prob(noise[i : i + 1])[0] - torch.linalg.slogdet(jacobian)[1]
        context.within("log q", said[i] - wanted, 1e-6)


@law("rows do not see each other")
def check_rows_are_independent(make: Make, context: Context) -> None:
    """A row alone is placed where it is placed in company, with the same density."""
    dequantizer, noise, x = _fresh(make, context)
    with torch.no_grad():
        (u, log_q), (alone, own) = dequantizer.place(noise, x, {}), dequantizer.place(noise[:1], x[:1], {})
    context.within("a row alone", u[:1] - alone, 1e-9)
    context.within("its log q", log_q[:1] - own, 1e-9)
