"""An autoencoder whose latents are drawn to where a frozen flow would go."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.draw import Draw
from flowloom.errors import ShapeError
from flowloom.fields import Field, Kind, NetworkField, read_as
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.trained import Trained
from flowloom_foundations.aligned.autoencoder import VectorAutoencoder


def misalignment(prior: Field, y: Tensor, source: Source, path: Path, draw: Draw, draws: int = 1) -> Tensor:
    r"""The flow-matching loss of a fixed field with the data as the variable, ``(batch,)`` (2506.05240).

    .. math:: L(y) = E_{t, x_0}\,\|v((1 - t) x_0 + t y, t) - (y - x_0)\|^2

    :math:`-L` is, up to a factor and a term of divergences, a lower bound of the log density that v
    generates, and needs no ODE. The gradient reaches y in the target *and* through the field's input.

    Args:
        prior: a velocity field, of a network that wants no gradient.
        y: points.
        source: of the noise that the field was trained from.
        path: of the field.
        draw: of times and noise.
        draws: of both for every point.
    """
    y = y.repeat(draws, *(1,) * (y.ndim - 1))
    x0 = source.sample(tuple(y.shape), draw)
    first, last = path.span
    t = first + (last - first) * draw.uniform((len(y),))
    point = path.sample(x0, y, t)
    answer = prior(point.x_t, t, {})
    assert isinstance(answer, Tensor) and isinstance(point.velocity, Tensor)
    return (answer - point.velocity).square().flatten(1).sum(1).reshape(draws, -1).mean(0)


class FlowPrior(Objective):
    r"""Reconstruction, and the alignment of latents with a law that a trained flow knows (2506.05240).

    .. math:: E\,\|x - D(y)\|^2 + \lambda\,L(y), \qquad y = E(x)

    with L the `misalignment` from the frozen flow: two sums over entries. Only the law of latents is
    aligned: no example needs a feature of its own. It seeks modes and concentrates in them; it is no
    likelihood. Logs ``mse`` (mean over entries) and ``alignment``.

    Args:
        prior: a flow that was trained on samples of the law, in the shape of the latents; None for an
            autoencoder whose latents are left alone.
        path: injected from the recipe; the loss has no times of its own.
        strength: :math:`\lambda`.
        draws: of time and noise for every latent.
    """

    generates = False

    def __init__(
        self,
        prior: Trained | None = None,
        path: Path | None = None,
        strength: float = 0.01,
        draws: int = 1,
    ) -> None:
        super().__init__()
        if strength < 0 or draws < 1:
            raise ValueError(f"strength from 0 and draws from 1, got {strength} and {draws}")
        self.prior, self.path = prior, path or AffinePath()
        self.strength, self.draws = strength, draws

    @property
    def kind(self) -> Kind:
        """``reconstruction``, which no solver takes."""
        return "reconstruction"

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Encode, decode, and ask the frozen flow of the latents."""
        x = batch.x1
        if not isinstance(model, VectorAutoencoder) or not isinstance(x, Tensor):
            raise ShapeError("objective flow-prior trains model: vector-autoencoder, on one tensor")
        y = model.encode(x)
        square = (x - model.decode(y)).square().flatten(1)
        total, told = square.sum(1).mean(), {"mse": square.detach().mean()}
        if self.prior is None:
            return Loss(total, told)
        flow, draw = self.prior.flow, Draw.like(y, step.generator)
        field = read_as(self.prior.field(), "velocity")
        off = misalignment(field, y, flow.source, flow.objective.path, draw, self.draws).mean()
        return Loss(total + self.strength * off, {**told, "alignment": off.detach()})

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The reconstructions."""
        return NetworkField(model, self.kind, self.path, source)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A network without latents, or with others than the prior's."""
        model = parts.get("model")
        if model is not None and not isinstance(model, VectorAutoencoder):
            yield Clash("objective", "model", "flow-prior aligns latents; take model: vector-autoencoder")
        elif isinstance(model, VectorAutoencoder) and self.prior is not None:
            shape = tuple(self.prior.spec.shape)
            if shape != (model.latent,):
                said = f"the prior's states are {shape}, and latents are ({model.latent},)"
                yield Clash("objective", "model", said)
