"""The conditional sliced-Wasserstein flow as a network that is fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.spec import Spec
from flowloom_foundations.sliced.directions import degrees, directions
from flowloom_foundations.sliced.quantiles import quantiles, transport


class SlicedFlow(nn.Module):
    r"""A sliced-Wasserstein flow (2305.02164): no weights and no gradients, only sorting.

    Particles start at the flow's source. Each layer draws H unit directions w, projects particles and data,
    and moves every particle along each direction to where its quantile is in the data,

    .. math:: x \leftarrow x + \eta\,\frac{d}{H} \sum_w w\,\big(F_{data}^{-1}(F_{particles}(a_w)) - a_w\big),
       \qquad a_w = \langle w, x \rangle,

    with d the dimension that the directions span. With a class condition it happens in the joint space: rows
    are :math:`(x, \xi\,\mathrm{onehot}(c))`, directions :math:`(\sqrt{d/D}\,w_x, \sqrt{l/D}\,w_c)` with w_c a
    normalised Laplace draw, and the class never moves. As classes of particles and data have one law, this
    follows the flow of every conditional law. The first ``observed`` entries of a state (the upper rows of an
    image) are a condition in the same way: they are data from the start and stay.

    `fit` carries ``particles`` through all layers and stores their quantiles and those of the data; any other
    particle then rides along, independently of its batch. Take more particles than data, and fewer ``bins``:
    quantiles that follow every particle carry its noise from layer to layer. As a velocity, layer k of L is
    in force from ``k / L``: ``solver: {use: euler, steps: L}`` is the paper's iteration exactly. Use with
    ``objective: fitted``.

    The buffers take ``layers * slices * (d + l + 2 bins)`` numbers.

    Args:
        spec: of the states, one real tensor; injected from the recipe.
        layers: steps of each stage.
        slices: H, directions a layer.
        sizes: for images, one stage for each: the side at which directions are drawn, 0 for full size.
        local: sizes whose directions are local (two small convolutions) instead of dense.
        bins: quantiles stored of every direction.
        particles: how many are carried through.
        step: :math:`\eta \le \min(1, H / d)`.
        amplifier: :math:`\xi`; too small a one lets classes mix.
        label: the class condition, None for none.
        observed: leading entries of the flattened state that are given.
        dequantise: width of uniform noise added to the data, anew in each layer.
        rows: rows of data used, at most.

    Raises:
        IncompatibleError: states are tokens or have parts, or the condition has no classes.
    """

    batch_independent = True
    compile_safe = False
    bf16_safe = False

    weight: Tensor
    of_class: Tensor
    source: Tensor
    target: Tensor
    gain: Tensor

    def __init__(
        self,
        spec: Spec,
        layers: int = 100,
        slices: int = 192,
        sizes: Sequence[int] = (0,),
        local: Sequence[int] = (),
        bins: int = 64,
        particles: int = 800,
        step: float = 1.0,
        amplifier: float = 10.0,
        label: str | None = "label",
        observed: int = 0,
        dequantise: float = 0.0,
        rows: int = 50_000,
    ) -> None:
        super().__init__()
        if spec.parts or spec.vocab is not None:
            raise IncompatibleError("sliced-flow moves states of one real tensor, not tokens or parts")
        condition = spec.conditions.get(label) if label is not None else None
        if label is not None and (condition is None or condition.classes is None):
            raise IncompatibleError(f"sliced-flow wants classes in '{label}'; write label: null for none")
        if not 0 < step <= 1 or bins < 2 or particles < 2:
            raise ValueError(
                f"step lies in (0, 1], bins and particles from 2 on: {step}, {bins}, {particles}"
            )
        if not 0 <= amplifier < math.inf or not 0 <= dequantise < math.inf:
            raise ValueError(
                f"amplifier and dequantise are finite and not negative, got {amplifier} and {dequantise}"
            )
        self.spec, self.shape, self.dim = spec, tuple(spec.shape), spec.numel()
        self.layers, self.slices, self.sizes, self.local = layers, slices, tuple(sizes), tuple(local)
        self.bins, self.particles, self.step, self.amplifier = bins, particles, step, amplifier
        self.label, self.observed, self.dequantise, self.rows = label, observed, dequantise, rows
        self.classes = condition.classes if condition is not None and condition.classes is not None else 0
        total = layers * len(self.sizes)
        for name, width in (
            ("weight", self.dim),
            ("of_class", self.classes),
            ("source", bins),
            ("target", bins),
        ):
            self.register_buffer(name, torch.zeros(total, slices, width))
        self.register_buffer("gain", torch.zeros(total))

    @property
    def total(self) -> int:
        """L: all layers, the steps of Euler's method that repeat the fit."""
        return self.layers * len(self.sizes)

    @torch.no_grad()
    def fit(self, data: Dataset | None, flow: Any, generator: torch.Generator) -> None:
        """Carry particles from the source to the data.

        Args:
            data: training rows.
            flow: whose codec encodes them and whose source starts particles; None for neither.
            generator: of everything drawn.

        Raises:
            DataError: the recipe has no data, or fewer than two rows.
        """
        if data is None or len(data) < 2:
            raise DataError("sliced-flow is made of data, and this recipe has fewer than two rows")
        count = min(len(data), self.rows)
        examples = data.take(data.evenly(self.rows))
        examples = examples if flow is None else flow.encode(examples.to(flow.device), generator).to("cpu")
        assert isinstance(examples.x, Tensor)
        real = examples.x.flatten(1).float()
        classes = self._classes(examples.cond, count, real)
        # Particles take the classes, and what is observed, of rows of data: a random order, repeated.
        order = torch.randperm(count, generator=generator).repeat(self.particles // count + 1)[
            : self.particles
        ]
        x = self._start(
            flow, Examples(examples.x[order], {k: v[order] for k, v in examples.cond.items()}), generator
        )
        told = classes[order]
        x[:, : self.observed] = real[order, : self.observed]
        for layer in range(self.total):
            self._draw(layer, generator)
            fresh = real + self.dequantise * (torch.rand(real.shape, generator=generator) - 0.5)
            weight, of_class = self.weight[layer].to(x), self.of_class[layer].to(x)
            self.source[layer] = quantiles(weight @ x.T + of_class @ told.T, self.bins)
            self.target[layer] = quantiles(weight @ fresh.T + of_class @ classes.T, self.bins)
            x = x + self._move(layer, x, told)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Velocity ``(batch, *event)``: L times what the layer of time ``t`` moves.

        Raises:
            ShapeError: the class is missing.
        """
        flat = x.flatten(1)
        told = self._classes(cond, len(x), flat)
        # Times of a grid of L steps may fall short of their layer by rounding.
        layer = (t.detach() * self.total + 1e-3).long().clamp(0, self.total - 1)
        moved = torch.zeros_like(flat)
        for number in layer.unique().tolist():
            rows = (layer == number).nonzero()[:, 0]
            moved = moved.index_copy(0, rows, self._move(number, flat[rows], told[rows]))
        return (self.total * moved).reshape(x.shape)

    def _move(self, layer: int, x: Tensor, told: Tensor) -> Tensor:
        """What a layer moves particles ``(n, d)`` of classes ``(n, l)`` by."""
        weight = self.weight[layer].to(x)
        along = weight @ x.T + self.of_class[layer].to(x) @ told.T
        gone = transport(along, self.source[layer].to(x), self.target[layer].to(x)) - along
        moved = self.gain[layer].to(x) * (gone.T @ weight)
        if not self.observed:
            return moved
        return torch.cat([torch.zeros_like(moved[:, : self.observed]), moved[:, self.observed :]], 1)

    def _draw(self, layer: int, generator: torch.Generator) -> None:
        """Directions of one layer, and the factor of its step."""
        size = self.sizes[layer // self.layers]
        dim = degrees(self.shape, size)
        joint = dim + self.classes
        drawn = directions(self.shape, self.slices, generator, size, size in self.local)
        self.weight[layer] = drawn * (dim / joint) ** 0.5
        if self.classes:
            uniform = torch.rand(self.slices, self.classes, generator=generator) - 0.5
            laplace = -uniform.sign() * torch.log1p(-2 * uniform.abs().clamp_max(0.4999999))
            self.of_class[layer] = F.normalize(laplace, dim=1) * (self.classes / joint) ** 0.5
        # The sum over directions w of w w' is H / D times the identity, so this is one full step.
        self.gain[layer] = min(self.step, self.slices / joint) * joint / self.slices

    def _classes(self, cond: Any, n: int, like: Tensor) -> Tensor:
        if self.label is None:
            return like.new_zeros(n, 0)
        if cond.get(self.label) is None:
            raise ShapeError(f"sliced-flow was fitted by '{self.label}' and was called without it")
        return self.amplifier * F.one_hot(cond[self.label].long(), self.classes).to(like)

    def _start(self, flow: Any, examples: Examples, generator: torch.Generator) -> Tensor:
        if flow is None:
            return 0.1 * torch.randn(self.particles, self.dim, generator=generator)
        x0 = flow.start_for(examples, generator)
        return x0.flatten(1).clone()
