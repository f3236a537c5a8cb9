"""Whether latents follow the law that they were to follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.metrics.distances import energy_distance
from flowloom.scores import Score
from flowloom_foundations.aligned.autoencoder import VectorAutoencoder


class LatentLaw(Score):
    """Energy distance of the latents of held-out examples to samples of a law, and what the latents lost.

    Args:
        target: the samples.
        rows: of them, at most, evenly spread over all.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "latent_distance": "lower",
        "squared_error": "lower",
    }

    def __init__(self, target: Dataset, rows: int = 2000) -> None:
        self.target, self.rows = target, rows

    def require(self, flow: Flow) -> None:
        """Ask for latents."""
        if not isinstance(flow.model, VectorAutoencoder):
            raise IncompatibleError("score latent-law is of latents; take model: vector-autoencoder")

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``latent_distance``, and ``squared_error``: of the reconstructions, mean over entries."""
        self.require(flow)
        model = flow.model
        assert isinstance(model, VectorAutoencoder) and isinstance(examples.x, Tensor)
        if not len(examples):
            raise ShapeError("score latent-law: there is no example to score")
        # Evenly spread: rows of a file are often sorted.
        wanted = self.target.take(self.target.evenly(self.rows)).x
        assert isinstance(wanted, Tensor)
        with flow.evaluating():
            latents = model.encode(examples.x)
            error = (model.decode(latents) - examples.x).square().mean()
        return {
            "latent_distance": energy_distance(latents.cpu(), wanted),
            "squared_error": float(error),
        }
