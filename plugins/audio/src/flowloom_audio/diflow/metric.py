"""Whether factorised tokens keep their law."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom_audio.diflow.toy import FactorisedTokens

__all__ = ["StreamsJudge"]


class StreamsJudge(Metric):
    """How samples of factorised tokens keep the law of `FactorisedTokens`.

    ``speaker_accuracy`` is the share of rows whose tokens fit the permutation of their speaker better than
    any other; ``lawless`` the share of frames whose streams do not agree with their speaker and each other;
    ``text_accuracy`` the share of rows whose content says the text; ``bigram_distance`` the total variation
    between samples and real rows of pairs (pitch, pitch of the next frame) and (pitch, first acoustic token
    with speaker and content undone), the mean of the two.
    """

    better: ClassVar = {
        "speaker_accuracy": "higher",
        "lawless": "lower",
        "text_accuracy": "higher",
        "bigram_distance": "lower",
    }
    about: ClassVar = {
        "speaker_accuracy": "Share of rows whose acoustic tokens fit their speaker's permutation best.",
        "lawless": "Share of frames whose streams do not agree with the speaker and with each other.",
        "text_accuracy": "Share of rows whose tokens of content say the text.",
        "bigram_distance": "Total variation of pairs of neighbouring pitches, and of pitch and acoustics.",
    }

    def fit(self, train: Dataset) -> None:
        """Take the law from its data set.

        Raises:
            IncompatibleError: the data have another law, or none that is known.
        """
        if not isinstance(train, FactorisedTokens):
            raise IncompatibleError(
                f"metric streams-judge knows the law of factorised-tokens, not of {type(train).__name__}"
            )
        self.law = train

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """The four values."""
        self.require_rows(samples, real)
        x, there, speaker = _tokens(samples, self.law)
        fits = torch.stack(
            [
                (self.law.lawful(x, torch.full_like(speaker, s)) & there).sum(1)
                for s in range(self.law.speakers)
            ]
        )
        lawful = self.law.lawful(x, speaker)[there]
        found, wanted = self._pairs(*_tokens(samples, self.law)), self._pairs(*_tokens(real, self.law))
        apart = [float((a - b).abs().sum() / 2) for a, b in zip(found, wanted, strict=True)]
        return {
            "speaker_accuracy": float((fits.argmax(0) == speaker).double().mean()),
            "lawless": 1 - float(lawful.double().mean()),
            "text_accuracy": float(self._says(x, there, samples.cond["text"]).double().mean()),
            "bigram_distance": sum(apart) / len(apart),
        }

    def _says(self, x: Tensor, there: Tensor, text: Tensor) -> Tensor:
        """Marks of rows in which symbols begin as the text says."""
        first = (x[..., 1] % 3 == 0) & there
        order = (~first).to(torch.uint8).argsort(dim=1, stable=True)[:, : text.shape[1]]
        begun = torch.where(first, x[..., 1] // 3 + 1, 0).gather(1, order)
        return ((begun == text).all(1)) & (first.sum(1) == (text > 0).sum(1))

    def _pairs(self, x: Tensor, there: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor]:
        size, pitch = self.law.vocab, x[..., 0]
        both = there[:, 1:] & there[:, :-1]
        moves = (pitch[:, :-1] * size + pitch[:, 1:])[both]
        base = self.law.bases(x[..., 2:3], x[..., 1], speaker)[..., 0] % size
        sounds = (pitch * size + base)[there]
        counts = [torch.bincount(pairs, minlength=size * size).double() for pairs in (moves, sounds)]
        return counts[0] / counts[0].sum().clamp_min(1), counts[1] / counts[1].sum().clamp_min(1)


def _tokens(examples: Examples, law: FactorisedTokens) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, marks of frames, and speakers."""
    x = examples.x
    assert isinstance(x, Tensor)
    layout = examples.layout or Layout.of(law.spec, examples.cond) or Layout()
    there = torch.ones(x.shape[:2], dtype=torch.bool) if layout.real is None else layout.real
    return Layout(real=there).zero(x.long()), there, examples.cond["speaker"].long()
