"""Discrete flow matching of prosody and acoustics, beside the mapper from text to content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.objectives import PosteriorMatching
from flowloom.objectives.base import Batch, Loss, Step
from flowloom.paths import Path
from flowloom.spec import Condition, Spec
from flowloom.state import Cond
from flowloom.times import TimeLaw
from flowloom.weights import Weight
from flowloom_audio.diflow.denoiser import FactorisedDenoiser
from flowloom_audio.diflow.mapper import PhonemeContentMapper, fitted
from flowloom_audio.diflow.streams import Streams
from flowloom_audio.models.reading import symbols_in
from flowloom_audio.text.alignment import monotonic_alignment

__all__ = ["FactorisedFlow"]


class FactorisedFlow(PosteriorMatching):
    r"""The three losses of DiFlow-TTS (2509.09631), trained together:

    .. math:: L = \lambda_d\,E\,(\log(1 + d) - \hat d)^2 + \lambda_c\,E[-\log q(c | \text{text}, d)]
        + \lambda_f\,E[-\log p_{1|t}(z | z_t, \text{text}, \text{prompt}, \text{voice})]

    for durations d, tokens of content c, and those of prosody and acoustics z, which alone the flow makes:
    content is given to it all the way (and masked tokens alone cost, as `PosteriorMatching` does from the
    mask). What the network is told of the text are the embeddings of a `PhonemeContentMapper`, found once
    a solve, as the condition ``spoken``. Where a solve is not told them, durations, which frames are real and
    the likeliest tokens of content are made up (`Objective.invents`).

    Durations come with the data (condition ``durations``, as an aligner finds them), or are found here: every
    symbol foretells the tokens of its frames (content; the first of prosody where there is none), and
    monotonic alignment search finds the likeliest way through text and frames (Glow-TTS 2005.11129), near the
    diagonal while little is foretold. What is foretold is learned on the way that was found, in
    :math:`\lambda_c` as well.

    Args:
        spec: of tokens ``(frames, streams)``, prosody first, then content, then acoustics, with the condition
            ``text`` of symbols and at most one of role ``real``; injected from the recipe.
        path: a mixture path from the mask; injected.
        times: see `PosteriorMatching`.
        weight: see there.
        prosody: streams of prosody.
        content: streams of content.
        embed: size of the embedding of a frame's content, for each of its streams.
        width: of the mapper's frames inside.
        text_width: of the mapper's symbols inside; ``width`` where None.
        heads: of the mapper's attention.
        hidden: channels between its convolutions; twice ``width`` where None.
        dropout: in the mapper, in training.
        duration_weight: :math:`\lambda_d`.
        content_weight: :math:`\lambda_c`.
        flow_weight: :math:`\lambda_f`.

    Raises:
        IncompatibleError: the states are no such tokens, nothing is said, or the source is not the mask.
    """

    def __init__(
        self,
        spec: Spec,
        path: Path,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        prosody: int = 1,
        content: int = 0,
        embed: int = 64,
        width: int = 128,
        text_width: int | None = None,
        heads: int = 4,
        hidden: int | None = None,
        dropout: float = 0.0,
        duration_weight: float = 0.5,
        content_weight: float = 1.0,
        flow_weight: float = 1.0,
    ) -> None:
        super().__init__(path, times, weight)
        who = "objective factorised-flow"
        self.streams = Streams.of(spec, prosody, content, who)
        text, marks = spec.conditions.get("text"), spec.named("real")
        if text is None or text.classes is None or len(text.shape) != 1:
            have = ", ".join(spec.conditions) or "none"
            raise IncompatibleError(f"{who} reads the condition 'text', symbols (n,); the data have: {have}")
        if not path.absorbing:
            raise IncompatibleError(f"{who} starts where nothing is known; use source: mask, path: mixture")
        if min(duration_weight, content_weight, flow_weight) < 0:
            raise ValueError("duration_weight, content_weight and flow_weight must not be negative")
        self.spec, self.mark, self.embed = spec, marks[0] if marks else None, embed
        self.weights = (duration_weight, content_weight, flow_weight)
        self.timed = "durations" in spec.conditions
        emits = 0 if self.timed else max(1, content)
        self.mapper = PhonemeContentMapper(
            symbols=text.classes,
            vocab=int(spec.vocab or 0),
            content=content,
            embed=embed,
            width=width,
            text_width=text_width or width,
            heads=heads,
            hidden=hidden or 2 * width,
            dropout=dropout,
            emits=emits,
        )
        known = ("durations",) if self.timed else ()
        self.invents = (*(marks[:1]), *known, *self.conditions())

    def conditions(self) -> Mapping[str, Condition]:
        """What is said in every frame, and the tokens of content, which are given."""
        frames, streams = self.spec.shape
        size = max(1, self.streams.content) * self.embed
        found = {"spoken": Condition(shape=(frames, size))}
        if not self.timed:  # shown beside samples, and told to no network
            found["durations"] = Condition(shape=self.spec.conditions["text"].shape, role="judged")
        if self.streams.content:
            found["content_known"] = Condition(shape=(frames, streams), role="given")
            found["content"] = Condition(shape=(frames, streams), role="values")
        return found

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """All three, and what is foretold where durations are found here."""
        x, cond = batch.x1, dict(batch.cond)
        assert isinstance(x, Tensor)
        layout = batch.layout or Layout()
        real = x.new_ones(x.shape[:2], dtype=torch.bool) if layout.real is None else layout.real
        tokens: Tensor = Layout(real=real).zero(x)
        encoded, known = self.mapper.read(cond["text"])
        durations, foretold = self._durations(cond, encoded, tokens, real)
        embeds, logits = self.mapper.speak(encoded, durations, x.shape[1])
        cond["spoken"] = embeds.flatten(2)
        gap = ((durations + 1).log() - self.mapper.log_durations(encoded, known)).square()
        lasting = (gap * known).sum() / known.sum()
        said = foretold
        if self.streams.content:
            said = said + _nats(logits, tokens[..., self.streams.held], real)
            layout = replace(layout, given=self.streams.given(x))
        flow = super().loss(model, Batch(batch.x0, x, cond, layout), step).total
        assert isinstance(flow, Tensor)
        parts = {"cross_entropy": flow.detach(), "content": said.detach(), "duration": lasting.detach()}
        terms = zip(self.weights, (lasting, said, flow), strict=True)
        return Loss(torch.stack([weight * term for weight, term in terms]).sum(), parts)

    def complete(self, cond: Cond, n: int, generator: torch.Generator | None = None) -> Cond:
        """With durations, marks of frames, embeddings of content and its likeliest tokens."""
        if "text" not in cond or cond.get("spoken") is not None:
            return cond
        made, most = dict(cond), self.spec.shape[0]
        with torch.no_grad():
            encoded, known = self.mapper.read(cond["text"])
            durations = cond.get("durations") if self.timed else None
            if durations is None:
                lasting = self.mapper.log_durations(encoded, known).exp() - 1
                durations = lasting.round().clamp(1, most).long() * known
            durations = durations.long()
            marks = None if self.mark is None else cond.get(self.mark)
            total = durations.sum(1).clamp(max=most) if marks is None else marks.sum(1)
            if self.mark is None:
                total = torch.full_like(total, most)
            durations = fitted(durations, total)
            embeds, logits = self.mapper.speak(encoded, durations, most)
        made["spoken"] = embeds.flatten(2)
        made["durations"] = durations.to(embeds.dtype)
        if self.mark is not None:
            made[self.mark] = torch.arange(most, device=total.device) < total[:, None]
        if self.streams.content:
            values = total.new_zeros(n, most, self.spec.shape[1])
            values[..., self.streams.held] = logits.argmax(-1)
            made["content"], made["content_known"] = values, self.streams.given(values)
        return made

    def _durations(self, cond: Cond, encoded: Tensor, tokens: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Frames of every symbol, int64, and the negative log-likelihood of what is foretold there."""
        if self.timed:
            return cond["durations"].long(), encoded.new_zeros(())
        told = self.mapper.foretold(encoded)
        wanted = tokens[..., self.streams.held] if self.streams.content else tokens[..., :1]
        # log p of the tokens of every frame under every symbol, (batch, symbols, frames)
        scores = torch.stack(
            [
                told[:, :, i].gather(2, wanted[:, None, :, i].expand(-1, told.shape[1], -1))
                for i in range(self.mapper.emits)
            ]
        ).sum(0)
        symbols, frames = symbols_in(cond["text"]), real.sum(1)
        middle = (torch.arange(told.shape[1], device=told.device) + 0.5) / symbols[:, None]
        place = (torch.arange(tokens.shape[1], device=told.device) + 0.5) / frames.clamp_min(1)[:, None]
        near = -0.5 * ((place[:, None] - middle[..., None]) / 0.15).square()
        # A row of fewer frames than symbols has no alignment; it says as many symbols as it has frames.
        path = monotonic_alignment(scores.detach() + near, symbols.minimum(frames), frames)
        rows = F.one_hot(path.clamp_min(0), told.shape[1]) * real[..., None]
        found = (scores * rows.transpose(1, 2)).sum() / real.sum() / self.mapper.emits
        return rows.sum(1), -found

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Another network, or one that divides the streams otherwise."""
        yield from super().clashes(parts)
        model = parts.get("model")
        if isinstance(model, FactorisedDenoiser) and model.streams != self.streams:
            own, other = self.streams, model.streams
            yield Clash(
                "objective",
                "model",
                f"the objective has {own.prosody} prosody and {own.content} content streams, and the network "
                f"{other.prosody} and {other.content}; give both alike",
            )
        elif model is not None and not isinstance(model, FactorisedDenoiser):
            said = f"factorised-flow tells its network what is spoken, and {type(model).__name__} does not "
            yield Clash("objective", "model", said + "hear it; take model: factorised-denoiser")


def _nats(logits: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
    """Mean cross-entropy of tokens ``(batch, frames, streams)`` over real frames."""
    nats = F.cross_entropy(logits.flatten(0, 2), tokens.flatten(), reduction="none").view(tokens.shape)
    return (nats * real[..., None]).sum() / (real.sum() * tokens.shape[-1]).clamp_min(1)
