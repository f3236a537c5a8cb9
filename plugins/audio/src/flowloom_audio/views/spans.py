"""A copy of which little is known: what generative pre-training of speech conditions on."""

from __future__ import annotations

import torch

from flowloom.data import Examples
from flowloom.layout import Layout
from flowloom.spec import Condition, Spec
from flowloom.views import View
from flowloom.views.base import plus
from flowloom_audio.waveforms import require_waves

__all__ = ["KnownSpans"]


class KnownSpans(View):
    """A copy of every recording that is silent but for what is left of it when long spans are hidden.

    70 to 100 per cent of a recording are hidden, in spans of at least ten frames, and in a share of the rows
    all of it (SpeechFlow 2310.16338, section 3.2). The copy informs the network as a noisy recording does
    when the same network is fine-tuned to enhance: both are the condition ``degraded``.

    Args:
        least: smallest hidden share.
        most: largest hidden share.
        nothing: share of rows of which nothing is known.
        span: shortest hidden span, in samples.
        name: of the copy.
    """

    def __init__(
        self,
        least: float = 0.7,
        most: float = 1.0,
        nothing: float = 0.1,
        span: int = 1280,
        name: str = "degraded",
    ) -> None:
        if not 0 <= least <= most <= 1 or not 0 <= nothing <= 1 or span < 1:
            raise ValueError(
                f"least <= most and nothing are shares, got {least}, {most} and {nothing}; span is at least 1"
            )
        self.least, self.most, self.nothing, self.span, self.name = least, most, nothing, span, name

    def spec(self, spec: Spec) -> Spec:
        """With the copy."""
        require_waves(spec, "view known-spans")
        return plus(spec, "known-spans", **{self.name: Condition(shape=spec.shape)})

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """With the copy."""
        x = examples.x
        assert isinstance(x, torch.Tensor)
        layout = examples.layout or Layout()
        n, samples = x.shape
        lengths = layout.real.sum(1) if layout.real is not None else torch.full((n,), samples)
        share = self.least + (self.most - self.least) * torch.rand(n, generator=generator)
        share = torch.where(torch.rand(n, generator=generator) < self.nothing, 1.0, share)
        known = torch.zeros(n, samples, dtype=torch.bool)
        places = torch.arange(samples)
        for i in range(n):
            hidden, length = int(share[i] * lengths[i]), int(lengths[i])
            # So many spans as are long enough; what is known lies in the gaps between them, cut at random.
            spans = max(1, min(3, hidden // self.span))
            cuts = torch.rand(2 * spans + 1, generator=generator)
            gaps = cuts[: spans + 1] / cuts[: spans + 1].sum() * (length - hidden)
            extra = cuts[spans + 1 :] / cuts[spans + 1 :].sum() * max(0, hidden - spans * self.span)
            at = 0.0
            for k in range(spans):
                known[i] |= (places >= round(at)) & (places < round(at + float(gaps[k])))
                at += float(gaps[k]) + min(self.span, hidden) + float(extra[k])
            known[i] |= (places >= round(at)) & (places < length)
        copy = torch.where(known, layout.zero(x), torch.zeros((), dtype=x.dtype))
        return Examples(x, {**examples.cond, self.name: copy})
