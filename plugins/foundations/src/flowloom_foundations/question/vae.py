"""A variational autoencoder of vectors, among flows: one evaluation a sample, and a bound of its density."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, Kind
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.models.sizes import require_sizes
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.scores import Score
from flowloom.seeds import generator as generator_of
from flowloom.solvers import Solution, Solver
from flowloom.solvers.walk import Call, Hook, Walk
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom.state import Cond, State

__all__ = ["Decode", "EvidenceBound", "GaussianVAE", "LowerBound"]

KIND = "decoder"


class GaussianVAE(nn.Module):
    r"""An encoder and a decoder of two hidden layers each, both Gaussian (Kingma and Welling 1312.6114).

    .. math:: q(z|x) = N(\mu(x), \mathrm{diag}\,\sigma^2(x)), \qquad p(x|z) = N(m(z), s^2 I)

    Latents have the shape of the states, so that a standard normal source is their prior; s is learned. As a
    network ``model(z, t)`` it answers with m(z).

    Args:
        spec: of the states: one real tensor; injected from the recipe.
        width: of the hidden layers.
    """

    def __init__(self, spec: Spec, width: int = 96) -> None:
        super().__init__()
        if spec.parts or spec.vocab is not None:
            raise IncompatibleError("gaussian-vae takes states of one real tensor")
        require_sizes(width=width)
        self.spec, size = spec, math.prod(spec.shape)
        self.encoder, self.decoder = (_perceptron(size, width, n) for n in (2 * size, size))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """The mean of states, whatever the time."""
        mean: Tensor = self.decoder(z.flatten(1)).reshape(z.shape)
        return mean

    def bound(self, x: Tensor, draw: Draw) -> Tensor:
        r"""One draw of the evidence bound in nats, ``(batch,)``, at most log p(x) on average:
        :math:`\log p(x|z) - KL(q(z|x) \| N(0, I))`."""
        mean, log_std = self.encoder(x.flatten(1)).chunk(2, 1)
        z = mean + log_std.exp() * draw.normal(mean.shape)
        off = (x.flatten(1) - self.decoder(z)) * (-self.log_scale).exp()
        told = (-0.5 * off.square() - self.log_scale - 0.5 * math.log(2 * math.pi)).sum(1)
        cost = 0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std
        bound: Tensor = told - cost.sum(1)
        return bound


def _perceptron(size_in: int, width: int, size_out: int) -> nn.Sequential:
    layers = [nn.Linear(size_in, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(width, size_out))


def vae_of(model: nn.Module) -> GaussianVAE:
    """The model as an autoencoder with a bound.

    Raises:
        IncompatibleError: it is none.
    """
    if not isinstance(model, GaussianVAE):
        raise IncompatibleError(f"an evidence bound is of model: gaussian-vae, not of {type(model).__name__}")
    return model


class Decoder(Field):
    """A decoder whose answers are drawn about its means. It has a bound of its density, and no density.

    Args:
        model: the autoencoder.
        path: of the recipe; says on which space states lie.
    """

    kind = KIND
    stochastic = True

    def __init__(self, model: nn.Module, path: Path) -> None:
        self.model, self.path, self.geometry = model, path, path.geometry
        self.told_by(model)

    def __call__(self, x: State, t: Tensor, cond: Cond, generator: torch.Generator | None = None) -> State:
        """Latents to states."""
        assert isinstance(x, Tensor)
        mean: Tensor = self.model(x, t, **cond)
        return mean + vae_of(self.model).log_scale.exp() * Draw.like(mean, generator).normal(mean.shape)


class EvidenceBound(Objective):
    """Minus the evidence bound, in nats an entry (1312.6114), by one draw of the latent.

    Args:
        path: of the recipe, whose geometry the states lie on; there are no times and no points between.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path or AffinePath()

    @property
    def kind(self) -> Kind:
        """``decoder``."""
        return KIND

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Encode, draw, decode."""
        x = batch.x1
        if not isinstance(x, Tensor) or batch.layout is not None:
            raise ShapeError("objective evidence-bound is for whole states of one tensor")
        bound = vae_of(model).bound(x, Draw.like(x, step.generator))
        return Loss(-bound.mean() / x[0].numel())

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The decoder."""
        return Decoder(model, self.path)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Other networks, and noise that is not standard normal."""
        model, source = parts.get("model"), parts.get("source")
        if model is not None and not isinstance(model, GaussianVAE):
            yield Clash("objective", "model", "evidence-bound trains model: gaussian-vae")
        if isinstance(source, Source) and not (source.gaussian and source.std == 1):
            yield Clash("objective", "source", "the prior of latents is N(0, I); use source: gaussian")


class Decode(Solver):
    """One evaluation of a decoder, whose answers are drawn."""

    consumes = KIND

    def solve(
        self,
        field: Field,
        x0: State,
        *,
        cond: Cond | None = None,
        span: tuple[float, float] | None = None,
        generator: torch.Generator | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
        layout: Layout | None = None,
    ) -> Solution:
        """Decode; see `Solver.solve`.

        Raises:
            IncompatibleError: the field is no decoder, entries are given, or the span is another.
        """
        span = span or (0.0, 1.0)
        if field.kind != KIND or layout is not None or span != (0.0, 1.0):
            raise IncompatibleError("decode carries whole latents from 0 to 1 through a decoder alone")
        call = Call(field, cond, generator)
        walk = Walk(call, x0, span[0], keep=keep, on_step=on_step, steps=1)
        walk.arrive(call(x0, span[0]), span[1])
        return walk.solution()


class LowerBound(Score):
    """Minus the evidence bound of held-out states in nats: the negative log likelihood is lower than this.

    Its name is another than that of exact likelihoods, so that no table puts the two in one row.

    Args:
        draws: of the latent, for each state.
    """

    better: ClassVar = {"nll_bound": "lower"}

    def __init__(self, draws: int = 8) -> None:
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        self.draws = draws

    def require(self, flow: Flow) -> None:
        """Ask for an autoencoder."""
        vae_of(flow.model)

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``nll_bound``."""
        model, x = vae_of(flow.model), examples.x
        if not isinstance(x, Tensor) or not len(x):
            raise ShapeError("score evidence-bound: there is no example to score")
        draw = Draw.like(x, generator_of(seed, "evidence-bound", 0, x.device))
        with flow.evaluating():
            bounds = [model.bound(x, draw).double().mean() for _ in range(self.draws)]
        return {"nll_bound": -float(torch.stack(bounds).mean())}
