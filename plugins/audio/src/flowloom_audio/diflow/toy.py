"""Factorised tokens whose law is known: what a codec of speech would give, without sound."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec

__all__ = ["FactorisedTokens"]


class FactorisedTokens(Drawn):
    r"""Frames of one token of prosody, one of content and several of acoustics.

    A text of symbols, each of which lasts its own time or a frame longer, decides the content: the symbol,
    and whether a frame is its first, its last or between. Prosody is a walk over :math:`V/4` pitches,
    :math:`p_{l+1} = p_l` with probability 0.7 and else a neighbour of it. Every frame is breathy or not,
    :math:`b_l \sim B(0.3)`, and the acoustic tokens are :math:`a_{lj} = \pi_s(4 p_l + 2 g_j(c_l) + b_l)`
    with a table g of zeros and ones and a permutation :math:`\pi_s` of the speaker s. Of the speaker a flow
    sees a prompt alone: frames of another text, without their content. Acoustic streams agree on pitch and
    breath, so drawing them apart from each other shows.

    Args:
        n: examples in every split.
        seed: of the draws; tables and permutations are the same for all.
        frames: of the longest example.
        vocab: ids of every stream, V, a multiple of 4.
        symbols: that texts are made of, at most a third of ``vocab``.
        text: symbols of the longest text; the shortest has two thirds as many.
        speakers: number of permutations.
        acoustic: streams of acoustics.
        prompt: frames of the prompt.
    """

    def __init__(
        self,
        n: int = 4000,
        seed: int = 0,
        frames: int = 48,
        vocab: int = 32,
        symbols: int = 10,
        text: int = 8,
        speakers: int = 4,
        acoustic: int = 3,
        prompt: int = 16,
    ) -> None:
        super().__init__(n, seed)
        if vocab % 4 or vocab < 3 * symbols or min(symbols, text, speakers, acoustic, prompt) < 1:
            raise DataError(
                f"factorised-tokens needs at least one of everything, and a vocab of a multiple of 4 from "
                f"{3 * symbols} for {symbols} symbols; got vocab {vocab}"
            )
        if frames < 6 * text or prompt > 2 * text:
            raise DataError(
                f"{text} symbols last up to {6 * text} frames, and a prompt has at most {2 * text}; got "
                f"frames {frames} and prompt {prompt}"
            )
        self.frames, self.vocab, self.symbols, self.text = frames, vocab, symbols, text
        self.speakers, self.acoustic, self.prompt = speakers, acoustic, prompt
        tables = torch.Generator().manual_seed(7)
        self.lasts = torch.randint(3, 6, (symbols,), generator=tables)
        self.table = torch.randint(2, (acoustic, 3 * symbols), generator=tables)
        orders = [torch.randperm(vocab, generator=tables) for _ in range(speakers)]
        self.permutations = torch.stack(orders)
        self.inverses = self.permutations.argsort(1)

    @property
    def spec(self) -> Spec:
        """Tokens ``(frames, 2 + acoustic)``, with the text, its durations, and a prompt."""
        streams = 2 + self.acoustic
        return Spec(
            (self.frames, streams),
            vocab=self.vocab,
            conditions={
                "mask": Condition(shape=(self.frames,), role="real"),
                "text": Condition(self.symbols + 1, (self.text,)),
                "durations": Condition(shape=(self.text,)),
                "prompt": Condition(self.vocab, (self.prompt, streams)),
                "speaker": Condition(self.speakers, role="judged"),
            },
        )

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Rows of the law."""
        speaker = torch.randint(self.speakers, (n,), generator=generator)
        text, durations, x, real = self._utterances(speaker, generator)
        _, _, prompt, _ = self._utterances(speaker, generator)
        prompt = prompt[:, : self.prompt].clone()
        prompt[..., 1] = 0  # what a prompt says is not told
        cond = {
            "mask": real,
            "text": text,
            "durations": durations.float(),
            "prompt": prompt,
            "speaker": speaker,
        }
        return Examples(x, cond)

    def of_content(self, durations: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Content ``(n, frames)`` of texts, 0 beyond their end, and marks of what is real."""
        ends = durations.cumsum(1)
        places = torch.arange(self.frames).expand(len(text), -1).contiguous()
        which = torch.searchsorted(ends, places, right=True).clamp(max=self.text - 1)
        end, size = ends.gather(1, which), durations.gather(1, which)
        position = torch.where(places == end - size, 0, torch.where(places == end - 1, 2, 1))
        real = places < ends[:, -1:]
        return torch.where(real, 3 * (text.gather(1, which) - 1) + position, 0), real

    def bases(self, acoustic: Tensor, content: Tensor, speaker: Tensor) -> Tensor:
        """``4 p + b`` as every acoustic stream tells it: ``(n, frames, streams)``; negative where none can.

        Args:
            acoustic: tokens ``(n, frames, streams)``.
            content: tokens ``(n, frames)``.
            speaker: whose permutation is undone, ``(n,)``.
        """
        inverse = self.inverses[speaker][:, None].expand(-1, acoustic.shape[1], -1)
        return inverse.gather(2, acoustic) - 2 * self._shades(content, acoustic.shape[-1])

    def lawful(self, x: Tensor, speaker: Tensor) -> Tensor:
        """Marks ``(n, frames)`` of frames whose streams agree with each other, with that speaker."""
        breath = self.bases(x[..., 2:], x[..., 1], speaker) - 4 * x[..., :1]
        agree = (breath == breath[..., :1]).all(-1)
        return agree & ((breath[..., 0] == 0) | (breath[..., 0] == 1))

    def _shades(self, content: Tensor, streams: int) -> Tensor:
        """``g`` of every stream, ``(n, frames, streams)``."""
        return self.table[:streams, content.clamp(max=self.table.shape[1] - 1)].permute(1, 2, 0)

    def _utterances(self, speaker: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n = len(speaker)
        count = torch.randint(-(-2 * self.text // 3), self.text + 1, (n,), generator=draws)
        there = torch.arange(self.text) < count[:, None]
        text = torch.randint(1, self.symbols + 1, (n, self.text), generator=draws) * there
        longer = torch.randint(2, (n, self.text), generator=draws)
        durations = (self.lasts[(text - 1).clamp_min(0)] + longer) * there
        content, real = self.of_content(durations, text)
        moves = torch.rand(n, self.frames, generator=draws)
        ways = torch.randint(2, (n, self.frames), generator=draws) * 2 - 1
        pitch = torch.randint(self.vocab // 4, (n,), generator=draws)
        prosody = torch.zeros(n, self.frames, dtype=torch.long)
        for frame in range(self.frames):
            prosody[:, frame] = pitch
            step = torch.where(moves[:, frame] < 0.7, 0, ways[:, frame])
            pitch = (pitch + step).clamp(0, self.vocab // 4 - 1)
        breath = (torch.rand(n, self.frames, generator=draws) < 0.3).long()
        base = 2 * self._shades(content, self.acoustic) + (4 * prosody + breath)[..., None]
        acoustic = self.permutations[speaker][:, None].expand(-1, self.frames, -1).gather(2, base)
        x = torch.cat([prosody[..., None], content[..., None], acoustic], -1)
        return text, durations, x * real[..., None], real
