"""Images and texts in one space."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.models.sizes import require_sizes
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom_alignment.nada.styled import tokens_of

__all__ = ["ImageText", "JointEncoder", "TellsBoth"]


@runtime_checkable
class TellsBoth(Protocol):
    """A network that embeds images and texts in one space, rows of length 1."""

    def images(self, x: Tensor) -> Tensor:
        """Embeddings ``(n, d)`` of images in [-1, 1]."""

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings ``(n, d)`` of texts."""


class JointEncoder(nn.Module):
    """A small convolutional image encoder beside the mean of word embeddings, each with a head of its own.

    As a model it answers with the embedding of its state.

    Args:
        spec: images with captions as condition ``words`` (data set ``styled``).
        width: channels of the first level.
        dim: of the common space.

    Raises:
        IncompatibleError: the data have no captions.
    """

    def __init__(self, spec: Spec, width: int = 16, dim: int = 32) -> None:
        super().__init__()
        require_sizes(width=width, dim=dim)
        words = spec.conditions.get("words")
        if words is None or words.classes is None or len(spec.shape) != 3:
            raise IncompatibleError(
                "joint-encoder learns from images with captions 'words'; use data: styled"
            )
        self.spec, self.words = spec, words.names
        channels, height, breadth = spec.shape
        self.image = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(2 * width * -(-height // 2) * -(-breadth // 2), dim),
        )
        self.word = nn.Embedding(words.classes, 2 * dim)
        self.text = nn.Sequential(nn.Linear(2 * dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def images(self, x: Tensor) -> Tensor:
        """See `TellsBoth`."""
        return F.normalize(self.image(x), dim=1)

    def captions(self, words: Tensor) -> Tensor:
        """Embeddings ``(n, d)`` of ids of words ``(n, length)``."""
        there = (words > 0)[..., None]
        mean = (self.word(words) * there).sum(1) / there.sum(1).clamp_min(1)
        return F.normalize(self.text(mean), dim=1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """See `TellsBoth`."""
        return self.captions(tokens_of(texts, self.words).to(self.log_scale.device))

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """The embedding of images."""
        return self.images(x)


class ImageText(Objective):
    r"""Tell the caption of an image among those of a batch, and the image of a caption (CLIP, 2103.00020).

    .. math:: L = \tfrac12 \big(H(s\, E_I E_T^\top) + H(s\, E_T E_I^\top)\big)

    H is the cross entropy with the rows' own pairs; rows with the same caption are no wrong answers to each
    other and share the target. Nothing is sampled of it.

    Args:
        path: injected from the recipe; the loss has no times.
    """

    generates = False

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path or AffinePath()

    @property
    def kind(self) -> Kind:
        """``embedding``, which no solver takes."""
        return "embedding"

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Embed both, and compare all with all."""
        if not isinstance(model, JointEncoder) or not isinstance(batch.x1, Tensor):
            raise IncompatibleError(f"image-text trains a joint-encoder, and not {type(model).__name__}")
        words = batch.cond["words"]
        logits = model.log_scale.clamp(max=math.log(100)).exp() * (
            model.images(batch.x1) @ model.captions(words).T
        )
        same = (words[:, None] == words[None]).all(-1).to(logits)
        target = same / same.sum(1, keepdim=True)
        total = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        hit = same.gather(1, logits.argmax(1)[:, None]).mean()
        return Loss(total, {"accuracy": hit.detach()})

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The embedding of images."""
        return NetworkField(model, self.kind, self.path, source)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A network that embeds no texts."""
        model = parts.get("model")
        if model is not None and not isinstance(model, JointEncoder):
            said = f"image-text trains a joint-encoder, and this is {type(model).__name__}"
            yield Clash("objective", "model", said)
