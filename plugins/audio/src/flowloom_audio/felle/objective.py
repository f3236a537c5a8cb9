"""Flow matching frame by frame, from the frame before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.clashes import Clash, Parts
from flowloom.conditions import drop, require_dropout
from flowloom.couplings import Coupling, Independent
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.layout import Layout, mean_of_entries
from flowloom.objectives.base import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom.times import TimeLaw, Uniform
from flowloom_audio.felle.field import KIND, NextFrame, Prior, language_model, starts
from flowloom_audio.felle.model import FrameLanguageModel

__all__ = ["FrameMatching"]


class FrameMatching(Objective):
    r"""A language model of frames, each drawn by a flow from the frame before it (FELLE, 2502.11128).

    .. math:: x_0^i \sim N(y_{i-1}, \sigma^2 I), \qquad x_t^i = (1 - t)\, x_0^i + t\, y_i, \qquad
              L_{flow} = \sum_{levels} E\, \|v(x_t^i, t, z_i) - (y_i - x_0^i)\|^2

    with :math:`z_i` of the true frames before i and, at the fine level, the true coarse bands. Beside it
    stand :math:`\beta (\|\hat y(z_i) - y_i\|_1 + \|\hat y(z_i) - y_i\|^2)`, which ties the context to its
    frame, and the cross entropy of whether frame i is the last. All are means over real frames and their
    bands. The first frame starts from :math:`N(0, \sigma^2 I)`.

    How many frames there are is what the flow says itself: a solve that is not told decides frame by frame.

    Args:
        spec: of the states, frames ``(frames, bands)``; injected from the recipe.
        path: affine, of the recipe; the first noise is x0 of its Gaussian source.
        times: law of t, which every frame draws for itself.
        prior: ``previous`` as above; ``gaussian`` starts every frame from x0 as it is.
        sigma: standard deviation about the frame before; the paper's variance is 0.1.
        draws: times and noises of every frame for one call of the language model.
        condition_dropout: share of rows from which conditions are withheld.
        withhold: names of those conditions (the prompt, in the paper); all where empty.
        expected_weight: beta.
        last_weight: of the cross entropy.
        last_emphasis: weight of a last frame beside one that is not, within the cross entropy; 1 leaves
            probabilities as they are.

    Raises:
        IncompatibleError: the states are no frames, or several conditions say what is real.
    """

    def __init__(
        self,
        spec: Spec,
        path: Path | None = None,
        times: TimeLaw | None = None,
        prior: Prior = "previous",
        sigma: float = 0.1**0.5,
        draws: int = 1,
        condition_dropout: float = 0.1,
        withhold: Sequence[str] = (),
        expected_weight: float = 0.1,
        last_weight: float = 0.01,
        last_emphasis: float = 1.0,
    ) -> None:
        super().__init__()
        require_dropout(condition_dropout)
        if prior not in ("previous", "gaussian"):
            raise ValueError(f"prior is previous or gaussian, not {prior!r}")
        if not sigma > 0 or draws < 1:
            raise ValueError(f"sigma must be positive and draws at least 1, got {sigma} and {draws}")
        if min(expected_weight, last_weight) < 0 or not last_emphasis > 0:
            raise ValueError("weights must not be negative, and last_emphasis positive")
        marks = spec.named("real")
        if spec.parts or spec.vocab is not None or len(spec.shape) != 2 or len(marks) > 1:
            raise IncompatibleError(
                "frame-matching takes frames (frames, bands) of which one condition at most says what is "
                f"real, and the data have shape {spec.event_shape()} with {', '.join(marks) or 'none'}; use "
                "codec: log-mel on waveforms"
            )
        for name in withhold:
            if name not in spec.named("inform"):
                known = ", ".join(spec.named("inform")) or "none"
                raise IncompatibleError(f"withhold names '{name}'; conditions to withhold: {known}")
        self.path, self.law = path or AffinePath(), times or Uniform()
        self.prior, self.sigma, self.draws = prior, sigma, draws
        self.condition_dropout, self.withhold = condition_dropout, tuple(withhold)
        self.expected_weight, self.last_weight = expected_weight, last_weight
        self.last_emphasis, self.invents = last_emphasis, marks

    @property
    def kind(self) -> str:
        """A field of its own."""
        return KIND

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The law of the next frame, for solver frame-by-frame."""
        mark = self.invents[0] if self.invents else None
        return NextFrame(language_model(model), self.path, source, self.prior, self.sigma, mark)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """All three, the language model being asked once.

        Raises:
            IncompatibleError: the model is another.
        """
        network = language_model(model)
        assert isinstance(batch.x1, Tensor)
        assert isinstance(batch.x0, Tensor)
        layout = batch.layout or Layout()
        frames, noise = layout.zero(batch.x1), layout.zero(batch.x0)
        z = network.contexts(frames, self._dropped(batch.cond, len(frames), step.generator))
        parts = {"flow": self._flow(network, frames, noise, z, layout, step)}
        expected = network.expected(z) - frames
        parts["expected"] = mean_of_entries(expected.abs() + expected.square(), layout.real).mean()
        total = parts["flow"] + self.expected_weight * parts["expected"]
        if layout.real is not None:
            parts["last"] = self._last(network.last(z)[..., 0], layout.real)
            total = total + self.last_weight * parts["last"]
        return Loss(total, {name: value.detach() for name, value in parts.items()})

    def _flow(
        self,
        network: FrameLanguageModel,
        frames: Tensor,
        noise: Tensor,
        z: Tensor,
        layout: Layout,
        step: Step,
    ) -> Tensor:
        """Squared errors of velocities, summed over levels."""
        draw, total = Draw.like(frames, step.generator), frames.new_zeros(())
        before = F.pad(frames, (0, 0, 1, 0))[:, :-1]
        for turn in range(self.draws):
            fresh = noise if not turn else layout.zero(draw.normal(tuple(noise.shape)))
            x0 = starts(before, fresh, self.prior, self.sigma)
            t = self.law.sample(frames[..., 0].numel(), draw).view(frames.shape[:2])
            point = self.path.sample(x0, frames, t)
            assert isinstance(point.x_t, Tensor)
            assert isinstance(point.velocity, Tensor)
            for number, level in enumerate(network.levels):
                said = network.velocity(number, point.x_t[..., level.bands], t, z, frames)
                wrong = (said - point.velocity[..., level.bands]).square()
                total = total + mean_of_entries(wrong, layout.real).mean()
        return total / self.draws

    def _last(self, logits: Tensor, real: Tensor) -> Tensor:
        """Cross entropy of which frame is the last."""
        ends = real & ~F.pad(real, (0, 1))[:, 1:]
        emphasis = logits.new_tensor(self.last_emphasis)
        values = F.binary_cross_entropy_with_logits(
            logits, ends.to(logits.dtype), pos_weight=emphasis, reduction="none"
        )
        return mean_of_entries(values, real).mean()

    def _dropped(self, cond: Cond, n: int, generator: torch.Generator | None) -> Cond:
        """Conditions, withheld from some rows."""
        found = dict(drop(cond, self.condition_dropout, n, generator))
        if self.withhold and "null" in found:
            rows = found.pop("null")
            found |= {f"null_{name}": rows for name in self.withhold}
        return found

    def withholds(self, names: frozenset[str], every: frozenset[str]) -> bool:
        """Those of `withhold`; all where it names none."""
        return self.condition_dropout > 0 and names == (frozenset(self.withhold) or every)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Couplings, paths that are not affine, sources that are not Gaussian, times of another span."""
        source, coupling = parts.get("source"), parts.get("coupling")
        if isinstance(coupling, Coupling) and not isinstance(coupling, Independent):
            yield Clash(
                "objective",
                "coupling",
                "every frame starts from the one before it, so nothing is there to pair; use coupling: "
                f"independent, not {type(coupling).__name__}",
            )
        if not self.path.affine:
            yield Clash(
                "objective", "path", f"frame-matching walks affine paths, not {type(self.path).__name__}"
            )
        if isinstance(source, Source) and not (source.gaussian and source.std == 1):
            yield Clash(
                "objective", "source", "frames begin with standard normal noise; use source: gaussian"
            )
        if self.law.support != self.path.span:
            yield Clash("objective", "path", f"{type(self.law).__name__} draws times that the path lacks")
