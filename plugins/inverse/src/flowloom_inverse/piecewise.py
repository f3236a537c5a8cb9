"""A network for every stretch of a series by itself."""

from __future__ import annotations

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import MLP
from flowloom.spec import Spec

__all__ = ["Piecewise"]


class Piecewise(nn.Module):
    """A perceptron on every stretch of a waveform by itself, the same for all of them.

    What it learns is a law of stretches, under which they are independent: a prior that knows what sound is
    like for some hundredths of a second, costs little, and can be asked of recordings of any length. It is
    told no conditions. Padding is zeroed at input and output.

    Args:
        spec: of the data, ``(samples,)`` or ``(samples, channels)``.
        samples: of a stretch; divides those of the data.
        width: of the hidden layers.
        depth: number of hidden layers.

    Raises:
        IncompatibleError: data are no waveform of a multiple of ``samples``.
    """

    conditional = False

    def __init__(self, spec: Spec, samples: int = 256, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        if spec.parts or spec.vocab is not None or not 1 <= len(spec.shape) <= 2 or spec.shape[0] % samples:
            raise IncompatibleError(
                f"piecewise takes series of real numbers of a multiple of {samples} steps (samples), not "
                f"{spec.event_shape()}"
            )
        self.spec, self.samples = spec, samples
        self.net = MLP(Spec((samples, *spec.shape[1:])), width, depth)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Read a state at time ``t``; see `flowloom.models.Model`."""
        layout = Layout.of(self.spec, cond)
        kept = x if layout is None else layout.zero(x)
        count = x.shape[1] // self.samples
        pieces = kept.reshape(len(x) * count, self.samples, *x.shape[2:])
        # A time for every sample is one for every stretch: its mean.
        times = t.reshape(len(x), count, -1).mean(2) if t.ndim > 1 else t[:, None].expand(-1, count)
        out: Tensor = self.net(pieces, times.reshape(-1)).reshape(x.shape)
        return out if layout is None else layout.zero(out)
