"""The judge: words and speaker, by a network trained on real recordings alone."""

from __future__ import annotations

from typing import ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import flowloom as fl
from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom.objectives import Objective
from flowloom.objectives.base import Batch, Loss, Step
from flowloom.seeds import derive
from flowloom.sources import Source
from flowloom.training.decays import Cosine
from flowloom.training.feeds.bucketed import Bucketed
from flowloom_audio.codecs.log_mel import LogMel
from flowloom_audio.metrics.waves import text_of, word_errors
from flowloom_audio.rates import rate_of
from flowloom_audio.waveforms import require_waves

__all__ = ["Recognise", "Recogniser", "SpeechJudge"]


class Recogniser(nn.Module):
    """Which words are said at which frame, and by whom: residual convolutions and two heads.

    Args:
        bands: of a frame.
        words: number of words; one logit more says that nothing new is said.
        speakers: number of speakers.
        width: of the convolutions.
        depth: number of residual convolutions, each seeing further.
    """

    def __init__(self, bands: int, words: int, speakers: int, width: int = 96, depth: int = 5) -> None:
        super().__init__()
        self.enter = nn.Conv1d(bands, width, 5, 2, 2)
        self.mix = nn.ModuleList(
            nn.Conv1d(width, width, 5, padding=2 * (1 + i % 3), dilation=1 + i % 3) for i in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.words, self.speaker = nn.Linear(width, words + 1), nn.Linear(2 * width, speakers)
        self.dropout = nn.Dropout(0.2)

    def forward(self, frames: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Frames ``(n, frames, bands)`` to logits of words and of speakers, and the marks of halved frames.

        Shapes are ``(n, half, words + 1)``, ``(n, speakers)`` and ``(n, half)``.
        """
        # The level and the colour of a recording tell nothing of its words, but of its speaker's microphone;
        # both are left in: it is the real recordings that say what belongs to a speaker.
        x = self.enter((frames * real[..., None]).transpose(1, 2)).transpose(1, 2)
        halved = real[:, ::2]
        kept = halved[..., None].to(x.dtype)
        for mix, norm in zip(self.mix, self.norms, strict=True):
            inner = F.gelu(mix((norm(x) * kept).transpose(1, 2)).transpose(1, 2))
            x = (x + self.dropout(inner)) * kept
        count = kept.sum(1).clamp_min(1)
        mean = x.sum(1) / count
        spread = ((x - mean[:, None]).square() * kept).sum(1).div(count).add(1e-5).sqrt()
        return self.words(x), self.speaker(self.dropout(torch.cat([mean, spread], -1))), halved


class Recognise(Objective):
    """Connectionist temporal classification of words (Graves et al. 2006), and cross-entropy of speakers.

    Args:
        words: id of every word, from 1.
        tokens: text of the symbols of the condition ``text``.
    """

    generates = False

    def __init__(self, words: dict[str, int], tokens: tuple[str, ...]) -> None:
        super().__init__()
        self.path = fl.paths.AffinePath()
        self.ids, self.tokens = words, tokens

    @property
    def kind(self) -> Kind:
        """Of no field at all: nothing is sampled."""
        return "velocity"

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """There is none.

        Raises:
            IncompatibleError: always.
        """
        raise IncompatibleError("a recogniser has no field to sample from")

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Both losses."""
        frames = batch.x1
        assert isinstance(frames, Tensor)
        words, speakers, real = model(frames, batch.cond["mask"].bool())
        said = [
            [self.ids[w] for w in text_of(row, self.tokens).split() if w in self.ids]
            for row in batch.cond["text"]
        ]
        sizes = torch.tensor([len(one) for one in said])
        flat = torch.tensor([i for one in said for i in one], dtype=torch.long)
        logs = words.log_softmax(-1).transpose(0, 1)
        ctc = F.ctc_loss(logs, flat, real.sum(1), sizes, zero_infinity=True)
        speaker = F.cross_entropy(speakers, batch.cond["speaker"], label_smoothing=0.05)
        return Loss(ctc + speaker, {"ctc": ctc.detach(), "speaker": speaker.detach()})


class SpeechJudge(Metric):
    """Words and speakers of samples, as a network hears them that was trained on the real training split.

    The network is trained once per data set, by `flowloom.Flow.fit`, on log-mel frames; the same data and
    seed give the same judge. ``judge_words`` is one less the share of words wrong, missing or too many;
    ``judge_speaker`` the share of rows that sound most like the speaker they were asked of.

    Args:
        steps: of the judge's training.
        batch: recordings a step.
        rate: samples a second; the data's own where None.
        seed: of the judge.
    """

    better: ClassVar = {"judge_words": "higher", "judge_speaker": "higher"}
    about: ClassVar = {
        "judge_words": "one less the share of words wrong, missing or too many, heard by a network that was "
        "trained on the training recordings",
        "judge_speaker": "share of samples that such a network takes for the speaker they were asked of",
    }

    def __init__(self, steps: int = 600, batch: int = 32, rate: int | None = None, seed: int = 0) -> None:
        if steps < 1 or batch < 1:
            raise ValueError(f"steps and batch must be at least 1, got {steps} and {batch}")
        self.steps, self.batch, self.rate, self.seed = steps, batch, rate, seed

    def fit(self, train: Dataset) -> None:
        """Train the judge.

        Raises:
            IncompatibleError: the data have no text, speaker or mask.
        """
        require_waves(train.spec, "speech-judge")
        for name in ("text", "speaker", "mask"):
            if name not in train.spec.conditions:
                raise IncompatibleError(
                    f"metric speech-judge needs the condition '{name}', which the data lacks"
                )
        known = _JUDGES.setdefault(train, {})
        key = (self.steps, self.batch, self.seed, self.rate)
        if key not in known:
            known[key] = self._trained(train)
        self._flow = known[key]

    def _trained(self, train: Dataset) -> fl.Flow:
        spec, rate = train.spec, rate_of(train.spec, self.rate, "speech-judge")
        tokens = spec.conditions["text"].names
        rows = train.evenly(2000)
        texts = {text_of(row, tokens) for row in train.take(rows).cond["text"]}
        words = {word: i for i, word in enumerate(sorted({w for text in texts for w in text.split()}), 1)}
        speakers = spec.conditions["speaker"].classes or 1
        hop = max(1, rate // 64)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, "speech-judge"))
            codec = LogMel(spec, rate, 40, 4 * hop, hop, also=())
            network = Recogniser(40, len(words), speakers)
        flow = fl.Flow(network, objective=Recognise(words, tokens), codec=codec, spec=codec.spec)
        flow.fit(
            Bucketed(train, pool=4, multiple=hop),
            seed=self.seed,
            steps=self.steps,
            batch=min(self.batch, len(train)),
            lr=3e-3,
            decay=Cosine(warmup=min(50, self.steps - 1)),
            ema=0.0,
        )
        return flow

    @torch.no_grad()
    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Of the samples, by the text and speaker that each was asked for."""
        self.require_rows(samples, samples)
        objective = self._flow.objective
        assert isinstance(objective, Recognise)
        names = {i: word for word, i in objective.ids.items()}
        wrong = total = right = 0
        real_samples = (samples.layout or Layout()).real
        marks = {} if real_samples is None else {"mask": real_samples}
        clean = Examples(torch.nan_to_num(_tensor(samples)), {**samples.cond, **marks})
        for rows in torch.arange(len(samples)).split(64):
            some = clean.take(rows)
            states = self._flow.encode(some)
            words, speakers, halved = self._flow.model(_tensor(states), states.cond["mask"].bool())
            right += int((speakers.argmax(-1) == some.cond["speaker"]).sum())
            for best, kept, ids in zip(words.argmax(-1), halved, some.cond["text"], strict=True):
                path = torch.unique_consecutive(best[kept]).tolist()
                wanted = text_of(ids, objective.tokens).split()
                wrong += word_errors([names[i] for i in path if i], wanted)
                total += len(wanted)
        return {
            "judge_words": max(0.0, 1 - wrong / max(1, total)),
            "judge_speaker": right / len(samples),
        }


_JUDGES: WeakKeyDictionary[Dataset, dict[tuple[int, int, int, int | None], fl.Flow]] = WeakKeyDictionary()


def _tensor(examples: Examples) -> Tensor:
    assert isinstance(examples.x, Tensor)
    return examples.x
