"""A coder of sound that was trained before, as a codec."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.data import Dataset
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.spec import Condition, Spec
from flowloom.state import Cond
from flowloom.trained import Trained
from flowloom_audio.codecs.framed import FramedCodec
from flowloom_audio.coders.base import WaveCoder

__all__ = ["LearnedSound"]

_CHUNK = 64


class LearnedSound(FramedCodec):
    """States are the frames of a frozen coder: tokens of a wave-quantiser, or numbers of a wave-autoencoder.

    Numbers are drawn from the posterior, and are in units of their standard deviation over real frames of the
    training data (latent diffusion 2112.10752, appendix G), so that source and data are of one scale.

    Args:
        spec: of the data; injected from the recipe.
        coder: trained with objective ``sound-coding``: ``{run: STAGE}``.
        also: further conditions that are waveforms; those that the data lack are passed over.
        books: how many of the codebooks are used, the coarsest first; all where None.
        voice: a condition of ``also`` of whose frames, as the encoder says them, mean and deviation over time
            are told as the condition ``voice``; none where empty.
        rows: training rows that the scale of numbers is measured on, at most.

    Raises:
        IncompatibleError: what was trained codes no sound, or sound of another rate.
    """

    scale: Tensor

    def __init__(
        self,
        spec: Spec,
        coder: Trained,
        also: Sequence[str] = ("prompt", "degraded", "reference"),
        books: int | None = None,
        voice: str = "",
        rows: int = 500,
    ) -> None:
        super().__init__(spec, also, "codec learned-sound")
        network = coder.flow.model
        if not isinstance(network, WaveCoder):
            raise IncompatibleError(
                f"codec learned-sound wants a coder of sound, and the run given trained "
                f"{type(network).__name__}; take one of model: wave-autoencoder or wave-quantiser, and "
                "objective: sound-coding"
            )
        if None not in (spec.rate, network.spec.rate) and spec.rate != network.spec.rate:
            raise IncompatibleError(
                f"the coder was trained on sound of {network.spec.rate} Hz, and these are of {spec.rate} Hz"
            )
        most = getattr(network, "books", None)
        if books is not None and (most is None or not 1 <= books <= most):
            have = "no codebooks" if most is None else f"1 to {most} codebooks"
            raise IncompatibleError(f"this coder has {have}, not {books}")
        if voice and voice not in self.also:
            have = ", ".join(self.also) or "none"
            raise IncompatibleError(
                f"codec learned-sound is to hear a voice in '{voice}', which is no waveform of the data; "
                f"there are: {have}"
            )
        self.coder, self.rows, self.books, self.voice = coder, rows, books or most, voice
        self.register_buffer("scale", torch.tensor(1.0))

    @property
    def network(self) -> WaveCoder:
        """The coder itself."""
        network = self.coder.flow.model
        assert isinstance(network, WaveCoder)
        return network

    @property
    def entries(self) -> int:
        """Codebooks, or numbers of a frame."""
        return self.books or self.network.latent

    @property
    def vocab(self) -> int | None:
        """Entries of a codebook."""
        return self.network.vocab

    def count(self, samples: int) -> int:
        """One frame a hop, the last one perhaps of silence in part."""
        return -(-samples // self.network.hop)

    @property
    def spec(self) -> Spec:
        """Of the frames, with the vector of the voice."""
        if not self.voice:
            return super().spec
        return super().spec.plus({"voice": Condition(shape=(2 * self.network.encodes,))})

    @torch.no_grad()
    def encode_conditions(self, cond: Cond) -> Cond:
        """Marks and waveforms over frames, and the vector of the voice."""
        found = dict(super().encode_conditions(cond))
        if self.voice and self.voice in cond:
            said = self.network.encoded(self._whole(cond[self.voice]))
            found["voice"] = torch.cat([said.mean(1), said.std(1, correction=0)], -1)
        return found

    @torch.no_grad()
    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Measure the standard deviation of numbers; tokens have none."""
        if self.vocab is not None:
            return
        if data is None:
            raise DataError("codec learned-sound measures the frames of data, and this recipe has none")
        kept = []
        for some in data.evenly(self.rows).split(_CHUNK):
            states = self.encode(data.take(some).to(self.scale.device)).laid_out(self.spec)
            assert isinstance(states.x, Tensor)
            real = None if states.layout is None else states.layout.real
            kept.append((states.x.flatten(0, 1) if real is None else states.x[real]) / self.scale)
        self.scale = 1 / torch.cat(kept).std().clamp_min(1e-6)

    def coded(self, waves: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Tokens of the books in use, or scaled numbers."""
        frames = self.network.frames(self._whole(waves), generator)
        return frames * self.scale if frames.is_floating_point() else frames[..., : self.entries]

    def sound(self, frames: Tensor, samples: int) -> Tensor:
        """Waveforms."""
        return self.network.decode(frames / self.scale if frames.is_floating_point() else frames)[:, :samples]

    def _whole(self, waves: Tensor) -> Tensor:
        return torch.nn.functional.pad(waves, (0, -waves.shape[-1] % self.network.hop))
