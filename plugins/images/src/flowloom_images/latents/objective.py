"""The loss of autoencoders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.errors import ShapeError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom_images.latents.base import Autoencoder


class AutoencoderLoss(Objective):
    r"""Reconstruction by a draw of the posterior, and its divergence from the standard Gaussian.

    .. math:: E\,\lVert x - D(z)\rVert_1 + \lambda\,KL(q(z|x)\,\|\,N(0, I)), \quad z \sim q(z|x) = E(x)

    summed over entries (Rombach et al. 2112.10752, appendix G, the KL-regularised form, whose
    :math:`\lambda` is 1e-6). The perceptual loss and the patch critic of the paper are left out: they sharpen
    textures of photographs, and the former needs a network trained on ImageNet. Nothing is sampled of it.

    Args:
        path: injected from the recipe; the loss has no times.
        kl_weight: lambda.
        distance: ``l1`` as in the paper, or ``l2``.
    """

    generates = False

    def __init__(
        self, path: Path | None = None, kl_weight: float = 1e-6, distance: Literal["l1", "l2"] = "l1"
    ) -> None:
        super().__init__()
        if not kl_weight >= 0:
            raise ValueError(f"kl_weight must not be negative, got {kl_weight}")
        self.path, self.kl_weight, self.distance = path or AffinePath(), kl_weight, distance

    @property
    def kind(self) -> Kind:
        """``reconstruction``, which no solver takes."""
        return "reconstruction"

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Encode, draw, decode, compare."""
        x = batch.x1
        if not isinstance(model, Autoencoder) or not isinstance(x, Tensor):
            raise ShapeError("the loss of an autoencoder is of one, and of states of one tensor")
        posterior = model.posterior(x)
        gap = x - model.decode(posterior.sample(step.generator))
        each = gap.abs() if self.distance == "l1" else gap.square()
        kl = posterior.kl().mean()
        told = {"reconstruction": gap.detach().abs().mean(), "kl": kl.detach()}
        return Loss(each.flatten(1).sum(1).mean() + self.kl_weight * kl, told)

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The reconstructions."""
        return NetworkField(model, self.kind, self.path, source)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A network that is no autoencoder."""
        model = parts.get("model")
        if model is not None and not isinstance(model, Autoencoder):
            yield Clash(
                "objective",
                "model",
                f"the loss is of an autoencoder, and {type(model).__name__} is none; take model: "
                "kl-autoencoder",
            )
