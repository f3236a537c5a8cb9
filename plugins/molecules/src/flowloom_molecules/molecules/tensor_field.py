"""A tensor-field network: atoms hold vectors and tensors beside numbers, and messages multiply them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError, MissingDependencyError
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom_molecules.graphs import Graphs
from flowloom_molecules.molecules.network import AtomNetwork

_FARTHEST = 12.0
"""Distances are told apart by bumps from 0 to here (angstrom); further ones are all alike to the bumps."""


class TensorField(AtomNetwork):
    r"""Messages by tensor products with spherical harmonics (Thomas et al. 1802.08219, NequIP 2101.03164).

    Every atom holds ``width`` numbers, ``width`` vectors and so on up to tensors of ``degree``, of the parity
    that vectors have. In each round

    .. math:: m_{ij} = \sum_{l_1 l_2 l} w^{l_1 l_2 l}_{ij} \,
        \big( h_j^{l_1} \otimes Y^{l_2}(\hat r_{ij}) \big)^{l}, \quad
        h_i \leftarrow h_i + \mathrm{gate}\big( W \textstyle\sum_j m_{ij} / n + W' h_i \big), \quad
        x_i \leftarrow x_i + W'' h_i^{1}

    with weights :math:`w_{ij}` by a network that sees the numbers of both atoms, how far apart they are, and
    how far they were in the state. Unlike in the EGNN, an atom tells others which way its neighbours lie.
    Rotations, reflections and permutations of the atoms commute with it;
    shifts change nothing. All pairs of atoms are joined. Needs the package e3nn.

    Args:
        spec: of the states: one real-valued part ``(atoms, 3)``, and any parts ``(atoms,)`` of tokens.
        width: tensors of each degree that an atom holds.
        depth: rounds of messages.
        degree: of the tensors and harmonics, at least 1.
        hidden: width of the networks that weigh the products.
        bumps: Gaussians by which distances are told apart.
        answer: ``data``, where the atoms end; or ``velocity``, how they move.
        span: bounds each round's move of an atom to so many angstrom; none where 0.

    Raises:
        IncompatibleError: the state is none of atoms in space, or the degree is less than 1.
        MissingDependencyError: e3nn is not installed.
    """

    called = "tensor-field"

    def __init__(
        self,
        spec: Spec,
        width: int = 32,
        depth: int = 4,
        degree: int = 2,
        hidden: int = 64,
        bumps: int = 16,
        answer: Literal["data", "velocity"] = "data",
        span: float = 15.0,
    ) -> None:
        require_sizes(width=width, depth=depth, hidden=hidden, bumps=bumps)
        if not 0 <= span < math.inf:
            raise ValueError(f"span is finite and not negative, 0 for none; got {span}")
        if degree < 1:
            raise IncompatibleError(f"model tensor-field has tensors of degree 1 or more, got {degree}")
        o3 = _e3nn()
        harmonics = o3.Irreps.spherical_harmonics(degree)
        # What nothing asks for is not computed: numbers come in, numbers and vectors leave.
        ends = [_tensors(width, 0), *[_tensors(width, degree)] * (depth - 1), _tensors(width, 1)]
        with _eager():
            layers = [
                _Round(before, after, harmonics, hidden, bumps, span) for before, after in pairwise(ends)
            ]
        super().__init__(spec, width, layers, answer)

    def given(self, place: Tensor, graphs: Graphs) -> Tensor:
        """Distances, smooth at 0."""
        return _apart(place, graphs)[1]


class _Round(nn.Module):
    """One round; the first layer of the weights' network is applied to atoms and pairs apart."""

    centres: Tensor

    def __init__(self, before: Any, after: Any, harmonics: Any, hidden: int, bumps: int, span: float) -> None:
        super().__init__()
        o3 = _e3nn()
        self.span, self.width = span, before[0].mul
        self.norm = _Norm(before)
        self.harmonics = o3.SphericalHarmonics(harmonics, normalize=False, normalization="component")
        self.product = _Product(before, harmonics, after)
        self.here = nn.Linear(self.width, hidden)
        self.there = nn.Linear(self.width, hidden, bias=False)
        self.apart = nn.Linear(2 * bumps + 2, hidden, bias=False)
        self.weigh = nn.Sequential(nn.SiLU(), nn.Linear(hidden, self.product.weights))
        self.gate = _Gate(after)
        gated = [(after[0].mul + self.gate.gates, 1), *_sizes(after)[1:]]
        self.arrive = _Mix(self.product.tensors, gated, bias=False)
        self.own = _Mix(_sizes(before), gated)
        self.update = _Mix(_sizes(after), _sizes(after))
        self.move = nn.Linear(after[1].mul, 1, bias=False)
        with torch.no_grad():
            self.move.weight.mul_(1e-2)
        self.start, self.end = after[0].mul, after[0].mul + 3 * after[1].mul
        self.size = after.dim
        self.register_buffer("centres", torch.linspace(0, _FARTHEST, bumps), persistent=False)

    def forward(self, hidden: Tensor, place: Tensor, given: Tensor, graphs: Graphs) -> tuple[Tensor, Tensor]:
        way, far = _apart(place, graphs)
        normed = self.norm(hidden)
        numbers = normed[:, : self.width]
        seen = torch.cat(
            [self._bumps(far), self._bumps(given), far[:, None].log1p(), given[:, None].log1p()], -1
        )
        first = self.here(numbers)[graphs.target] + self.there(numbers)[graphs.source] + self.apart(seen)
        # A product of two tensors; directions of atoms at one place are 0, not undefined.
        message = self.product(normed[graphs.source], self.harmonics(way / far[:, None]), self.weigh(first))
        size = graphs.size[graphs.row].clamp_min(1)[:, None].to(message)
        arrived = graphs.gathered(message) / size
        moved = self.update(self.gate(self.arrive(arrived) + self.own(normed)))
        hidden = moved + _fitted(hidden, self.size)
        vectors = hidden[:, self.start : self.end].unflatten(-1, (-1, 3))
        step = self.move(vectors.mT)[..., 0]
        if self.span:
            step = step / (1 + step.square().sum(-1, keepdim=True) / self.span**2).sqrt()
        return hidden, place + step

    def _bumps(self, far: Tensor) -> Tensor:
        gap = _FARTHEST / max(1, len(self.centres) - 1)
        return torch.exp(-(((far[:, None] - self.centres.to(far)) / gap) ** 2))


class _Gate(nn.Module):
    """Numbers through SiLU, tensors times a sigmoid of a number each, which stand between the two."""

    spread: Tensor

    def __init__(self, tensors: Any) -> None:
        super().__init__()
        self.first, self.gates = tensors[0].mul, tensors[1:].num_irreps
        sizes = [one.ir.dim for one in tensors[1:] for _ in range(one.mul)]
        spread = torch.tensor([i for i, size in enumerate(sizes) for _ in range(size)])
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        first, gates, tensors = hidden.split([self.first, self.gates, len(self.spread)], -1)
        return torch.cat([nn.functional.silu(first), tensors * torch.sigmoid(gates)[:, self.spread]], -1)


class _Mix(nn.Module):
    """A linear map of tensors of every degree among themselves, which no rotation sees.

    Args:
        before: how many of which size, of each kind, in order; a size may come several times.
        after: the same of the answer, each size once.
        bias: of numbers.
    """

    def __init__(
        self, before: Sequence[tuple[int, int]], after: Sequence[tuple[int, int]], bias: bool = True
    ) -> None:
        super().__init__()
        self.before, self.after = list(before), list(after)
        many = {dim: sum(mul for mul, size in before if size == dim) for _, dim in after}
        self.maps = nn.ModuleDict(
            {str(dim): nn.Linear(many[dim], out, bias=bias and dim == 1) for out, dim in after if many[dim]}
        )

    def forward(self, hidden: Tensor) -> Tensor:
        parts = hidden.split([mul * dim for mul, dim in self.before], -1)
        done = []
        for out, dim in self.after:
            if str(dim) not in self.maps:  # tensors that are not there yet
                done.append(hidden.new_zeros((*hidden.shape[:-1], out * dim)))
                continue
            same = [
                part.unflatten(-1, (-1, dim))
                for part, (_, size) in zip(parts, self.before, strict=True)
                if size == dim
            ]
            done.append(self.maps[str(dim)](torch.cat(same, -2).mT).mT.flatten(-2))
        return torch.cat(done, -1)


class _Norm(nn.Module):
    """Numbers normalised as in a layer norm; tensors of a degree by their mean square over all of them."""

    def __init__(self, tensors: Any) -> None:
        super().__init__()
        self.sizes = _sizes(tensors)
        self.first = nn.LayerNorm(self.sizes[0][0])
        self.scale = nn.ParameterList(nn.Parameter(torch.ones(mul)) for mul, _ in self.sizes[1:])

    def forward(self, hidden: Tensor) -> Tensor:
        first, *others = hidden.split([mul * dim for mul, dim in self.sizes], -1)
        done = [self.first(first)]
        for values, (mul, dim), scale in zip(others, self.sizes[1:], self.scale, strict=True):
            split = values.unflatten(-1, (mul, dim))
            size = split.square().mean((-2, -1), keepdim=True)
            done.append((split * (size + 1e-6).rsqrt() * scale[:, None]).flatten(-2))
        return torch.cat(done, -1)


def _apart(place: Tensor, graphs: Graphs) -> tuple[Tensor, Tensor]:
    """The way to every source, ``(edges, 3)``, and its length, smooth at 0, ``(edges,)``."""
    way = place[graphs.source] - place[graphs.target]
    return way, (way.square().sum(-1) + 1e-6).sqrt()


def _fitted(hidden: Tensor, size: int) -> Tensor:
    """Tensors of lower degrees come first: those that are not wanted any more, or not yet there."""
    if hidden.shape[-1] >= size:
        return hidden[:, :size]
    return nn.functional.pad(hidden, (0, size - hidden.shape[-1]))


def _sizes(tensors: Any) -> list[tuple[int, int]]:
    """How many tensors of how many components."""
    return [(one.mul, one.ir.dim) for one in tensors]


def _tensors(width: int, degree: int) -> Any:
    o3 = _e3nn()
    return o3.Irreps([(width, (d, (-1) ** d)) for d in range(degree + 1)])


class _Product(nn.Module):
    """Products of every tensor with harmonics, each weighed by itself, whose degrees somebody asks for.

    Harmonics are multiplied into the Clebsch-Gordan coefficients first: what is left is one product of
    matrices for each degree of the tensors, over all products at once.
    """

    def __init__(self, before: Any, harmonics: Any, after: Any) -> None:
        super().__init__()
        wanted = {one.ir for one in after}
        self.sizes, self.tensors = _sizes(before), list[tuple[int, int]]()
        self.widths: list[list[int]] = []
        for i, one in enumerate(before):
            blocks = []
            for other, place in zip(harmonics, harmonics.slices(), strict=True):
                for ir in (ir for ir in one.ir * other.ir if ir in wanted):
                    block = torch.zeros(one.ir.dim, ir.dim, harmonics.dim, device="cpu")
                    block[..., place] = _coefficients(one.ir.l, ir.l, other.ir.l)
                    blocks.append(block)
                    self.tensors.append((one.mul, ir.dim))
            self.widths.append([block.shape[1] for block in blocks])
            here = torch.empty(0).device
            self.register_buffer(f"coefficients_{i}", torch.cat(blocks, 1).to(here), persistent=False)
        self.weights = sum(mul for mul, _ in self.tensors)

    def forward(self, hidden: Tensor, harmonics: Tensor, weights: Tensor) -> Tensor:
        """Tensors, harmonics and ``(edges, weights)`` weights of every edge to products, degree by degree."""
        done = []
        tensors = hidden.split([mul * dim for mul, dim in self.sizes], -1)
        many = [mul * len(w) for (mul, _), w in zip(self.sizes, self.widths, strict=True)]
        for i, (values, share) in enumerate(zip(tensors, weights.split(many, -1), strict=True)):
            mul, dim = self.sizes[i]
            turn = torch.einsum("ej,dkj->edk", harmonics, self.get_buffer(f"coefficients_{i}").to(harmonics))
            whole = values.unflatten(-1, (mul, dim)) @ turn
            each = share.unflatten(-1, (len(self.widths[i]), mul))
            for k, block in enumerate(whole.split(self.widths[i], -1)):
                done.append((block * each[:, k, :, None]).flatten(1))
        return torch.cat(done, -1)


def _coefficients(first: int, last: int, harmonics: int) -> Tensor:
    """Of the product of a tensor and a harmonic; components have variance 1 where both factors' have."""
    # e3nn keeps them for everybody who asks later, so that they are never made on the meta device.
    with torch.device("cpu"):
        return (2 * last + 1) ** 0.5 * _e3nn().wigner_3j(first, last, harmonics, dtype=torch.float32)


@contextmanager
def _eager() -> Iterator[None]:
    """Modules of e3nn as plain torch: scripted ones know no forward-mode derivative."""
    import e3nn

    before = e3nn.get_optimization_defaults()["jit_mode"]
    e3nn.set_optimization_defaults(jit_mode="eager")
    try:
        yield
    finally:
        e3nn.set_optimization_defaults(jit_mode=before)


def _e3nn() -> Any:
    """Its module ``o3``."""
    try:
        from e3nn import o3
    except ImportError as error:
        raise MissingDependencyError(
            "model tensor-field needs the package e3nn; pip install e3nn, or flowloom-molecules[equivariant]"
        ) from error
    return o3
