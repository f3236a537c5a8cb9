"""Functions of symmetric matrices, differentiable to any order where eigenvalues repeat."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

Scalar = Literal["exp", "log", "sqrt", "rsqrt"]

# The power p of which log, sqrt and rsqrt are (up to a factor) the antiderivative or the power itself.
_POWER = {"log": 0.0, "sqrt": 0.5, "rsqrt": -0.5}
# Points closer than this (half their distance, over their mean where that is the scale) are expanded.
_CLOSE = 0.1


class Spectrum(NamedTuple):
    """``base I + V diag(values) V^T``, without gradients: ``(..., n)``, ``(..., n, n)`` and ``(..., 1)``.

    A base of 1 keeps the digits of ``values`` for matrices near the identity; otherwise it is 0.
    """

    values: Tensor
    vectors: Tensor
    base: Tensor


def spectrum(x: Tensor, base: Tensor | None = None, *, positive: bool) -> Spectrum:
    """Eigenvalues and eigenvectors of symmetric ``base I + x``.

    Args:
        x: ``(..., n, n)``.
        base: 0 or 1 for each matrix, ``(..., 1)``; 0 where none is given.
        positive: keep eigenvalues above the smallest normal number.
    """
    # Only constants here: derivatives come from `_Apply`, never from those of eigenvectors.
    fixed = x.detach()
    values, vectors = torch.linalg.eigh(0.5 * (fixed + fixed.mT))
    base = torch.zeros_like(values[..., :1]) if base is None else base
    if positive:
        values = torch.maximum(values, torch.finfo(values.dtype).tiny - base)
    return Spectrum(values, vectors, base)


def symmetric_function(x: Tensor, name: Scalar, known: Spectrum | None = None) -> Tensor:
    r"""``V f(L) V^T`` for symmetric ``x = V L V^T``: shape of ``x``.

    Its derivatives of every order are those of Daleckii and Krein: the k-th one along ``E_1 .. E_k`` is
    the sum over orders of the directions of

    .. math:: V \Big[\sum_{i_1 .. i_{k-1}} f[l_{i_0}, .., l_{i_k}]\,
        \tilde E_{1, i_0 i_1} \cdots \tilde E_{k, i_{k-1} i_k}\Big]_{i_0 i_k} V^T,
        \qquad \tilde E = V^T E V,

    with divided differences by forms that do not cancel: eigenvalues may repeat. They are right in
    reverse mode, over forward mode too; forward over forward mode may drop terms, as torch does for
    every ``autograd.Function`` (pytorch issue 197867).

    Args:
        x: symmetric matrices; less ``base I`` where ``known`` has a base.
        name: the function.
        known: the eigenvalues and eigenvectors of ``x``, where they are at hand.
    """
    known = known or spectrum(x, positive=name != "exp")
    return _Apply.apply(x, *known, name)  # type: ignore[no-untyped-call]


def derivative(x: Tensor, direction: Tensor, name: Scalar, known: Spectrum | None = None) -> Tensor:
    """The derivative of `symmetric_function` along (the symmetric part of) ``direction``.

    Shapes broadcast: many directions need the divided differences of one ``x`` once.
    """
    known = known or spectrum(x, positive=name != "exp")
    return _Apply.apply(x, *known, name, direction)  # type: ignore[no-untyped-call]


def powers(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x^(1/2)`` and ``x^(-1/2)`` of symmetric positive matrices."""
    known = spectrum(x, positive=True)
    return symmetric_function(x, "sqrt", known), symmetric_function(x, "rsqrt", known)


def evaluate(values: Tensor, base: Tensor, name: Scalar) -> Tensor:
    """``f(base + values)``, entry by entry."""
    if name == "exp":
        return (base + values).exp()
    if name == "log":
        return torch.where(base > 0, values.log1p(), (base + values).log())
    return (base + values).sqrt() if name == "sqrt" else (base + values).rsqrt()


def divided_differences(values: Tensor, base: Tensor, name: Scalar, order: int = 1) -> Tensor:
    """``f[l_i0, .., l_ik]`` for all ``k + 1`` indices, ``k = order``: ``(..., n, .., n)``.

    Args:
        values: monotone along the last dimension, ``(..., n)``; the arguments are ``l = base + values``.
        base: ``(..., 1)``.
        name: the function.
        order: how many differences.
    """
    if order == 0:
        return evaluate(values, base, name)
    if order == 1:
        return _pairs(values, base, name)
    size = values.shape[-1]
    tuples, first, last, where = _combinations(size, order)
    lower = divided_differences(values, base, name, order - 1).flatten(-order)
    # As values are monotone, the ends of an ordered tuple of indices are its extremes.
    at = values[..., tuples]
    spread = at[..., -1] - at[..., 0]
    middle = 0.5 * (at[..., -1] + at[..., 0])
    scale = torch.full_like(middle, 1.0) if name == "exp" else base + middle
    close = spread.abs() < 2 * _CLOSE * scale
    apart = (lower[..., last] - lower[..., first]) / torch.where(close, 1, spread)
    offsets = (at - middle[..., None]) / scale[..., None]
    series = _series(offsets, base + middle, name, order)
    return torch.where(close, series, apart)[..., where].unflatten(-1, (size,) * (order + 1))


def _pairs(values: Tensor, base: Tensor, name: Scalar) -> Tensor:
    """First divided differences: full relative accuracy at any distance of the two arguments."""
    a, b = values[..., :, None], values[..., None, :]
    base = base[..., None]
    apart = (a - b).abs()
    distinct = apart > 0
    safe = torch.where(distinct, apart, 1)
    if name == "exp":
        # e^max (1 - e^-d) / d
        slope = torch.where(distinct, -torch.expm1(-apart) / safe, 1)
        return (base + torch.maximum(a, b)).exp() * slope
    if name == "log":
        # log(1 + d / min) / d; the quotient overflows only where min is the smallest normal number
        least = base + torch.minimum(a, b)
        quotient = (apart / least).clamp_max(torch.finfo(values.dtype).max)
        return torch.where(distinct, quotient.log1p() / safe, 1 / least)
    a, b = (base + a).sqrt(), (base + b).sqrt()
    return 1 / (a + b) if name == "sqrt" else -1 / ((a + b) * a * b)


def _series(offsets: Tensor, centre: Tensor, name: Scalar, order: int) -> Tensor:
    r"""Divided differences of ``order + 1`` close points, by the Taylor series about their centre.

    :math:`f[c + s z_0, .., c + s z_k] = \sum_m \frac{f^{(m)}(c)}{m!} s^{m-k} h_{m-k}(z)` with complete
    homogeneous polynomials h, where the scale s is 1 for exp and c for powers and log.
    """
    terms = 15 if offsets.dtype == torch.float64 else 7
    # h_j(z_0 .. z_v) = h_j(z_0 .. z_(v-1)) + z_v h_(j-1)(z_0 .. z_v)
    h = [torch.ones_like(centre), *[torch.zeros_like(centre)] * terms]
    for z in offsets.unbind(-1):
        for j in range(1, terms + 1):
            h[j] = torch.addcmul(h[j], z, h[j - 1])
    coefficients = [_taylor(name, order + j) for j in range(terms + 1)]
    # Smallest terms first.
    total = torch.zeros_like(centre)
    for weight, part in zip(reversed(coefficients), reversed(h), strict=True):
        total = total + weight * part
    return total * (centre.exp() if name == "exp" else centre ** (_POWER[name] - order))


def _taylor(name: Scalar, m: int) -> float:
    """``f^(m)(1) / m!`` (``f^(m)(0) / m!`` for exp), m at least 1."""
    if name == "exp":
        return 1 / math.factorial(m)
    if name == "log":
        return (-1) ** (m - 1) / m
    return math.prod((_POWER[name] - i) / (i + 1) for i in range(m))


@cache
def _combinations(size: int, order: int) -> tuple[list[list[int]], list[int], list[int], list[int]]:
    """Where things are in tensors of ``order + 1`` indices below ``size``.

    Returns:
        The ordered tuples of indices; the flat places, in a tensor of one dimension less, of each without
        its last and without its first index; and for every tuple, which ordered one it is.
    """
    ordered = list(itertools.combinations_with_replacement(range(size), order + 1))

    def flat(indices: tuple[int, ...]) -> int:
        return sum(i * size**place for place, i in enumerate(reversed(indices)))

    number = {indices: i for i, indices in enumerate(ordered)}
    every = itertools.product(range(size), repeat=order + 1)
    return (
        [list(t) for t in ordered],
        [flat(t[:-1]) for t in ordered],
        [flat(t[1:]) for t in ordered],
        [number[tuple(sorted(t))] for t in every],
    )


def _contract(differences: Tensor, directions: list[Tensor]) -> Tensor:
    """``sum over i1 .. i(k-1) of f[l_i0, .., l_ik] E_1[i0, i1] .. E_k[i(k-1), ik]``."""
    order, every = len(directions), slice(None)
    for place, e in enumerate(directions):
        before, after = (None,) * place, (None,) * (order - 1 - place)
        differences = differences * e[(..., *before, every, every, *after)]
    return differences.sum(tuple(range(-order, -1)))


class _Apply(Function):
    """The derivative of f at x along k directions (k = 0: f itself).

    It is linear in every direction, and paired with one more it does not depend on their order (it is the
    derivative of order ``k + 1`` of ``tr F(x)`` with ``F' = f``). So each of its own derivatives is again
    such a thing, with one direction replaced, or with one more.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, values: Tensor, vectors: Tensor, base: Tensor, name: Scalar, *directions: Tensor
    ) -> Tensor:
        order = len(directions)
        if order == 0:
            return (vectors * evaluate(values, base, name)[..., None, :]) @ vectors.mT
        turned = [vectors.mT @ (0.5 * (d + d.mT)) @ vectors for d in directions]
        differences = divided_differences(values, base, name, order)
        if order == 1:
            return vectors @ (differences * turned[0]) @ vectors.mT
        # The transpose stands for the directions in reverse order.
        ordered = [p for p in itertools.permutations(range(order)) if p[0] < p[-1]]
        inner = torch.stack([_contract(differences, [turned[i] for i in p]) for p in ordered]).sum(0)
        return vectors @ (inner + inner.mT) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, values, vectors, base, ctx.name, *directions = inputs
        # x is kept, though its spectrum is enough to compute with: derivatives of derivatives hang on it.
        ctx.save_for_backward(x, values, vectors, base, *directions)
        ctx.save_for_forward(x, values, vectors, base, *directions)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *known = ctx.saved_tensors[:4]
        directions, (grad,) = ctx.saved_tensors[4:], grads

        def along(*e: Tensor) -> Tensor:
            return _Apply.apply(x, *known, ctx.name, *e)  # type: ignore[no-untyped-call]

        needed = ctx.needs_input_grad
        to_x = along(*directions, grad).sum_to_size(x.shape) if needed[0] else None
        to_directions = [
            along(*directions[:i], grad, *directions[i + 1 :]).sum_to_size(d.shape) if needed[5 + i] else None
            for i, d in enumerate(directions)
        ]
        return (to_x, None, None, None, None, *to_directions)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        x, *known = ctx.saved_tensors[:4]
        directions, moved = ctx.saved_tensors[4:], tangents[5:]

        def along(*e: Tensor) -> Tensor:
            return _Apply.apply(x, *known, ctx.name, *e)  # type: ignore[no-untyped-call]

        parts = [
            along(*directions[:i], change, *directions[i + 1 :])
            for i, change in enumerate(moved)
            if change is not None
        ]
        if tangents[0] is not None:
            parts.append(along(*directions, tangents[0]))
        return sum(parts[1:], parts[0])
