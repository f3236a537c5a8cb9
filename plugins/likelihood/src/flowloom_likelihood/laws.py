"""Laws of bijections."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.testing.laws import Context, Make, law
from flowloom_likelihood.bijections import Bijection
from flowloom_likelihood.bijections.autoregressive import Autoregressive

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


def _token_by_token(bijection: Bijection) -> bool:
    return isinstance(bijection, Autoregressive)


@law("no token is moved by a later one", when=_token_by_token)
def check_no_token_sees_a_later_one(make: Make, context: Context) -> None:
    """What is told of token i stays when the tokens from i on are others."""
    bijection, x = _fresh(make, context)
    assert isinstance(bijection, Autoregressive)
    with torch.no_grad():
        told = torch.cat(bijection.net(bijection.ordered(x), {}), -1)
        others = torch.randn(x.shape, generator=context.generator(3), dtype=x.dtype)
        for i in range(x.shape[1]):
            mixed = torch.cat([bijection.ordered(x)[:, :i], others[:, i:]], 1)
            again = torch.cat(bijection.net(mixed, {}), -1)
            context.within(f"what is told of token {i}", again[:, : i + 1] - told[:, : i + 1], 1e-9)


@law("token by token, with what was read remembered, is all at once", when=_token_by_token)
def check_reading_on(make: Make, context: Context) -> None:
    """Laws of tokens read in pieces of one and of two are those of all read together; so is the inverse."""
    bijection, x = _fresh(make, context)
    assert isinstance(bijection, Autoregressive)
    x = bijection.ordered(x)
    with torch.no_grad():
        told = torch.cat(bijection.net(x, {}), -1)
        for size in (1, 2):
            reading = bijection.net.begin()
            found = [bijection.net.read(x[:, :0], {}, reading)]
            found += [bijection.net.read(piece, {}, reading) for piece in x[:, :-1].split(size, 1)]
            pieces = torch.cat([torch.cat(moments, -1) for moments in found], 1)
            context.within(f"read in pieces of {size}", pieces - told, 1e-9)
        z = torch.randn(x.shape, generator=context.generator(2), dtype=x.dtype)
        one_by_one, (at_once, _) = bijection.inverse(z, {}), bijection.jacobi(z, {}, 1e-12)
        context.within("the inverse in parallel", one_by_one - at_once, 1e-7)
