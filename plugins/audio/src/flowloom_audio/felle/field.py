"""What a trained language model of frames is: the law of the next frame."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.state import Cond, State
from flowloom_audio.felle.model import FrameLanguageModel

__all__ = ["KIND", "NextFrame", "Prior", "language_model", "starts"]

KIND = "next-frame"
Prior = Literal["previous", "gaussian"]


class NextFrame(Field):
    """The law of every frame given those before it; asked as a field, its mean as the model expects it.

    Args:
        model: the language model with its heads.
        path: of every frame's flow.
        source: of the noise.
        prior: where a frame starts.
        sigma: how far from there.
        mark: condition that says which frames are real; None where all are.
    """

    kind = KIND

    def __init__(
        self,
        model: FrameLanguageModel,
        path: Path,
        source: Source | None = None,
        prior: Prior = "previous",
        sigma: float = 0.1**0.5,
        mark: str | None = None,
    ) -> None:
        self.model, self.path, self.source = model, path, source
        self.prior, self.sigma, self.mark = prior, sigma, mark
        self.told_by(model)

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """What is expected of every frame of ``x``, given those before it."""
        expected: Tensor = self.model(x, t, **cond)
        return expected

    def start(self, before: Tensor, noise: Tensor) -> Tensor:
        """Where the flow of a frame begins; see `starts`."""
        return starts(before, noise, self.prior, self.sigma)


def starts(before: Tensor, noise: Tensor, prior: Prior, sigma: float) -> Tensor:
    r"""Where frames begin, in the shape of both: :math:`y_{i-1} + \sigma \epsilon`, or the noise as it is.

    Args:
        before: the frames before, 0 before the first.
        noise: of the source, standard normal.
        prior: ``previous`` or ``gaussian``.
        sigma: standard deviation about the frame before.
    """
    return noise if prior == "gaussian" else before + sigma * noise


def language_model(model: nn.Module) -> FrameLanguageModel:
    """The network as a language model of frames.

    Raises:
        IncompatibleError: it is none.
    """
    if not isinstance(model, FrameLanguageModel):
        raise IncompatibleError(
            "frame-matching trains a language model of frames (model: frame-language-model), and "
            f"{type(model).__name__} is none"
        )
    return model
