"""Laws of bijections."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.testing.laws import Context, Make, law
from flowloom_likelihood.bijections import Bijection

ROWS, SIDE = 3, 2


def _fresh(make: Make, context: Context) -> tuple[Bijection, Tensor]:
    """A bijection in double precision whose parameters are not those that it starts with, and states.

    States are images of the context's shape, or small ones of 4 channels.
    """
    bijection: Bijection = make().double().eval()
    draws = context.generator(1)
    spec = getattr(bijection, "spec", None)
    shape = spec.shape if spec is not None else (4, SIDE, SIDE)
    x = torch.randn(ROWS, *shape, generator=draws, dtype=torch.float64)
    with torch.no_grad():
        for parameter in bijection.parameters():
            noise = torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
            parameter.add_(0.1 * noise)
    return bijection, x


@law("the inverse undoes the transform, both ways")
def check_inverse(make: Make, context: Context) -> None:
    """In double precision, on random states and on random noise."""
    bijection, x = _fresh(make, context)
    with torch.no_grad():
        z, _ = bijection.transform(x, {})
        context.within("inverse(transform(x)) = x", bijection.inverse(z, {}) - x, 1e-7)
        noise = torch.randn(z.shape, generator=context.generator(2), dtype=torch.float64)
        there, _ = bijection.transform(bijection.inverse(noise, {}), {})
        context.within("transform(inverse(z)) = z", there - noise, 1e-7)


@law("in single precision the inverse still undoes the transform")
def check_inverse_in_single_precision(make: Make, context: Context) -> None:
    """To 1e-4, the rounding that sampling and editing live with; a deep flow may not amplify it."""
    bijection, x = _fresh(make, context)
    bijection, single = bijection.float(), x.float()
    with torch.no_grad():
        z, _ = bijection.transform(single, {})
        context.holds("single precision stays single", z.dtype == torch.float32, f"{z.dtype}")
        context.within("inverse(transform(x)) = x", bijection.inverse(z, {}) - single, 1e-4)


@law("log |det| is that of the Jacobian")
def check_log_det(make: Make, context: Context) -> None:
    """Against autograd, row by row."""
    bijection, x = _fresh(make, context)
    _, said = bijection.transform(x, {})
    context.holds("log |det| has one number a row", said.shape == (ROWS,), f"shape {tuple(said.shape)}")
    for i, row in enumerate(x):

        def flat(v: Tensor, row: Tensor = row) -> Tensor:
            return bijection.transform(v.reshape(1, *row.shape), {})[0].flatten()

        jacobian = torch.autograd.functional.jacobian(flat, row.flatten())
        context.within("log |det|", said[i] - torch.linalg.slogdet(jacobian)[1], 1e-6)


@law("what is left out of log |det| as a constant is one")
def check_unnormalised(make: Make, context: Context) -> None:
    """`unnormalised` carries states as `transform` does; what it leaves out is the same for all rows."""
    bijection, x = _fresh(make, context)
    with torch.no_grad():
        (z, whole), (same, part) = bijection.transform(x, {}), bijection.unnormalised(x, {})
    context.within("unnormalised(x) = transform(x)", same - z, 1e-9)
    left_out = whole - part
    context.within("what is left out, row by row", left_out - left_out[0], 1e-8)


@law("rows do not see each other")
def check_rows_are_independent(make: Make, context: Context) -> None:
    """A row alone is carried where it is carried in company, with the same determinant."""
    bijection, x = _fresh(make, context)
    with torch.no_grad():
        (together, dets), (alone, det) = bijection.transform(x, {}), bijection.transform(x[:1], {})
    context.within("a row alone", together[:1] - alone, 1e-9)
    context.within("its log |det|", dets[:1] - det, 1e-9)
