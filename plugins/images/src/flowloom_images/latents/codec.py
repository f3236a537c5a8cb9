"""An autoencoder that was trained before, as a codec."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from flowloom.codecs import Codec
from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.spec import Spec
from flowloom.trained import Trained
from flowloom_images.latents.base import Autoencoder

_CHUNK = 256


class LearnedCodec(Codec):
    """States are the latents of a frozen autoencoder, in units of their standard deviation.

    Encoding draws from the posterior, as latent diffusion and latent flow matching do (Rombach et al.
    2112.10752; Dao et al. 2307.08698); what is drawn is multiplied by one factor that gives latents unit
    variance over the data (2112.10752, appendix G; 0.18215 for the autoencoder of Stable Diffusion), so that
    source and data are of one scale.

    Args:
        spec: of the data; injected from the recipe.
        autoencoder: trained with objective ``autoencoder``.
        factor: in place of the fitted one.
        sample: False for the mean of the posterior.
        rows: training rows that the factor is fitted on, at most.

    Raises:
        IncompatibleError: what was trained is no autoencoder, or one of other data.
    """

    scale: Tensor

    def __init__(
        self,
        spec: Spec,
        autoencoder: Trained,
        factor: float | None = None,
        sample: bool = True,
        rows: int = 2000,
    ) -> None:
        super().__init__(spec)
        network = autoencoder.flow.model
        if not isinstance(network, Autoencoder):
            raise IncompatibleError(
                f"codec learned is an autoencoder, and the run given trained {type(network).__name__}; take "
                "one of model: kl-autoencoder and objective: autoencoder"
            )
        if network.spec.event_shape() != spec.event_shape():
            raise IncompatibleError(
                f"the autoencoder was trained on states of shape {network.spec.event_shape()}, and these are "
                f"of shape {spec.event_shape()}"
            )
        if factor is not None and not factor > 0:
            raise ValueError(f"factor must be positive, got {factor}")
        self.autoencoder, self.factor, self.sample, self.rows = autoencoder, factor, sample, rows
        self.register_buffer("scale", torch.tensor(1.0 if factor is None else factor))

    @property
    def network(self) -> Autoencoder:
        """The autoencoder itself."""
        network = self.autoencoder.flow.model
        assert isinstance(network, Autoencoder)
        return network

    @property
    def spec(self) -> Spec:
        """Of the latents."""
        return Spec(self.network.latent, conditions=self.data_spec.conditions)

    @torch.no_grad()
    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Measure the standard deviation of latents, unless the factor is given."""
        if self.factor is not None:
            return
        if data is None:
            raise DataError(
                "codec learned measures the latents of data, and this recipe has none; give factor"
            )
        rows = data.evenly(self.rows)
        where = self.scale.device
        drawn = torch.Generator(where).manual_seed(0 if generator is None else generator.initial_seed())
        latents = [
            self._latents(self._images(data.take(some)).to(where), drawn) for some in rows.split(_CHUNK)
        ]
        self.scale = 1 / torch.cat(latents).std()

    @torch.no_grad()
    def encode(self, examples: Examples, generator: torch.Generator | None = None) -> Examples:
        """Latents of images."""
        return replace(examples, x=self.scale * self._latents(self._images(examples), generator))

    def decode(self, examples: Examples) -> Examples:
        """Images of latents; differentiable, for guidance that looks at images."""
        assert isinstance(examples.x, Tensor)
        return replace(examples, x=self.network.decode(examples.x / self.scale))

    def _latents(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        posterior = self.network.posterior(images)
        return posterior.sample(generator) if self.sample else posterior.mean

    def _images(self, examples: Examples) -> Tensor:
        assert isinstance(examples.x, Tensor)
        return examples.x
