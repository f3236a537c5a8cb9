"""The U-Net of EDM2, whose layers preserve magnitudes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import withheld
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.models.attention import attend
from flowloom.models.sizes import require_sizes
from flowloom.module_names import module_name
from flowloom.spec import Spec
from flowloom_images.models.image_spec import chosen, halved_image_shape
from flowloom_images.models.ladder import ladder
from flowloom_images.models.unet import _resample

__all__ = ["EDM2UNet"]


class EDM2UNet(nn.Module):
    r"""The U-Net of Karras et al., "Analyzing and Improving the Training Dynamics" (2312.02696, config G).

    There are no biases and no group normalisation. Every layer keeps the expected magnitude of what it reads:

    .. math:: \text{weights } \hat w_i = \frac{w_i}{\|w_i\|},\quad
              \text{sums } \frac{(1 - r) a + r b}{\sqrt{(1 - r)^2 + r^2}},\quad
              \frac{\mathrm{SiLU}(x)}{0.596},\quad \sqrt 2 \cos(2 \pi (f t + \varphi))

    with r = 0.3 for blocks and attention, 0.5 for classes; skips are joined with equal magnitudes, features
    are normalised over channels on the way down, queries, keys and values over a head. Times are embedded by
    random frequencies, which are fixed; gains of what is told and of the answer start at zero, so that the
    network starts as zero. What the network computes does not see the lengths of its weights. The paper also
    sets them to 1 after every step, which holds the rate of learning; that is not here, so the rate falls as
    they grow.

    ``width: 192`` on 64 x 64 x 4 latents with 1,000 classes is EDM2-S, 280.2 M parameters, ``width: 128``
    EDM2-XS, 124.7 M. The paper's preconditioning and its estimate of the loss belong to its noise levels and
    are not here.

    Args:
        spec: of the data: images of real values.
        width: channels that ``multipliers`` multiply, and number of frequencies of times.
        multipliers: channels of each level; each further level halves the image.
        blocks: residual blocks per level on the way down; one more on the way up.
        attention: heights of the image, in pixels, at which blocks attend.
        head_width: channels of one attention head.
        dropout: inside residual blocks, in training; the paper's is 0.1 from size M on.
        conditions: names of the conditions to read, all of the data's when None: classes, of which a withheld
            one is told as nothing, and settings such as a second time.

    Raises:
        IncompatibleError: the data are no images, a level cannot be halved, or a condition is no class.
    """

    def __init__(
        self,
        spec: Spec,
        width: int = 192,
        multipliers: Sequence[int] = (1, 2, 3, 4),
        blocks: int = 3,
        attention: Sequence[int] = (16, 8),
        head_width: int = 64,
        dropout: float = 0.0,
        conditions: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        require_sizes(width=width, blocks=blocks, head_width=head_width)
        self.spec = spec
        if not multipliers or min(multipliers) < 1:
            raise ValueError(f"multipliers must be at least 1, got {list(multipliers)}")
        channels, height, _ = halved_image_shape(spec, "EDM2 U-Net", len(multipliers))
        told = max(multipliers) * width
        read = chosen(spec, conditions)
        classes = {name: c.classes for name, c in read.items() if c.role == "inform"}
        for name, count in classes.items():
            if count is None or read[name].shape:
                raise IncompatibleError(f"edm2-unet reads one class a row, and '{name}' is none")
        self.conditional = bool(classes)
        self.classes = {name: count for name, count in classes.items() if count is not None}
        self.settings = [name for name, c in read.items() if c.role == "setting"]
        self.time = _TimeFeatures(width, told)
        self.of_setting = nn.ModuleDict({module_name(n): _TimeFeatures(width, told) for n in self.settings})
        self.of_class = nn.ModuleDict({module_name(n): _Even(k, told) for n, k in self.classes.items()})

        def block(
            c_in: int, c_out: int, attends: bool = False, resample: str = "", up: bool = False
        ) -> _Block:
            return _Block(c_in, c_out, told, dropout, head_width if attends else None, resample, up)

        self.stem = _Even(channels + 1, width * multipliers[0], 3)  # with a channel of ones
        down, up = ladder(multipliers, blocks, attention, height, stem=multipliers[0])
        self.down = nn.ModuleList(
            block(place.into * width, place.out * width, place.attends, place.resample) for place in down
        )
        self.up, count = nn.ModuleList(), multipliers[-1] * width
        self.middle = nn.ModuleList([block(count, count, True, up=True), block(count, count, up=True)])
        for place in up:
            count = place.out * width
            self.up.append(block(place.into * width, count, place.attends, up=True))
            if place.resample:
                self.up.append(block(count, count, resample=place.resample, up=True))
        self.out, self.gain = _Even(count, channels, 3), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Images ``(batch, C, H, W)`` at times ``(batch,)`` to images of the same shape."""
        told = _silu(self._told(t, cond).to(x.dtype))
        hidden = self.stem(torch.cat([x, torch.ones_like(x[:, :1])], 1))
        skips = [hidden]
        for block in self.down:
            hidden = block(hidden, told)
            skips.append(hidden)
        for block in self.middle:
            hidden = block(hidden, told)
        for block in self.up:
            hidden = block(hidden if block.resample else _join(hidden, skips.pop()), told)
        answer: Tensor = self.out(hidden, self.gain)
        return answer

    def _told(self, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        told: Tensor = self.time(t)
        for name in self.settings:
            if cond.get(name) is None:
                raise ShapeError(f"this network is steered by '{name}' and was called without it")
            told = _sum(told, self.of_setting[module_name(name)](cond[name].expand(len(t))), 0.5)
        for name, count in self.classes.items():
            layer, value = self.of_class[module_name(name)], cond.get(name)
            if value is None:
                vector = torch.zeros_like(told)
            else:
                # `one_hot` would look at the numbers, which stops compilation.
                chosen_one = value[:, None] == torch.arange(count, device=value.device)
                vector = layer(chosen_one.to(told.dtype) * math.sqrt(count))
            off = withheld(cond, name)
            vector = vector if off is None else vector.masked_fill(off[:, None], 0)
            told = _sum(told, vector, 0.5)
        return told


class _Even(nn.Module):
    """A linear map or convolution without bias whose rows have unit length, whatever the weights' is."""

    def __init__(self, c_in: int, c_out: int, kernel: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, *([kernel, kernel] if kernel else [])))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """``x`` of unit magnitude to as much, times ``gain``."""
        weight = self.weight.float() if self.weight.dtype.itemsize < 4 else self.weight
        weight = (_unit(weight) * (gain / math.sqrt(weight[0].numel()))).to(x.dtype)
        return F.linear(x, weight) if weight.ndim == 2 else F.conv2d(x, weight, padding=weight.shape[-1] // 2)


class _TimeFeatures(nn.Module):
    """Cosines of a time at random frequencies and phases, then a linear map."""

    frequencies: Tensor
    phases: Tensor

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.randn(features))
        self.register_buffer("phases", 2 * math.pi * torch.rand(features))
        self.linear = _Even(features, dim)

    def forward(self, t: Tensor) -> Tensor:
        """Times ``(batch,)`` to ``(batch, dim)``."""
        precise = t.float() if t.dtype.itemsize < 4 else t
        angle = precise[:, None] * self.frequencies.to(precise) + self.phases.to(precise)
        told: Tensor = self.linear(math.sqrt(2) * angle.cos())
        return told


class _Block(nn.Module):
    """Two convolutions beside a skip, then perhaps attention; all of it of unit magnitude.

    Args:
        c_in: channels of the input.
        c_out: channels of the output.
        told: size of what is told.
        dropout: before the second convolution.
        head_width: channels of an attention head, None for no attention.
        resample: ``"up"`` or ``"down"`` to double or halve the image first, ``""`` for neither.
        up: on the way up, where features are not normalised and the skip's map comes last.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        told: int,
        dropout: float,
        head_width: int | None,
        resample: str,
        up: bool,
    ) -> None:
        super().__init__()
        self.resample, self.on_the_way_up = resample, up
        self.heads = 0 if head_width is None else max(1, c_out // head_width)
        self.skip = _Even(c_in, c_out, 1) if c_in != c_out else None
        self.conv_in, self.conv_out = _Even(c_in if up else c_out, c_out, 3), _Even(c_out, c_out, 3)
        self.steer, self.gain = _Even(told, c_out), nn.Parameter(torch.zeros(()))
        self.dropout = nn.Dropout(dropout)
        self.qkv = _Even(c_out, 3 * c_out, 1) if self.heads else None
        self.mix = _Even(c_out, c_out, 1) if self.heads else None

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Images ``(batch, c_in, H, W)`` and what is told ``(batch, told)``."""
        x = _resample(x, self.resample)
        if not self.on_the_way_up:
            x = _unit_over(x if self.skip is None else self.skip(x), 1)
        hidden = self.conv_in(_silu(x))
        hidden = _silu(hidden * (1 + self.steer(told, self.gain))[:, :, None, None])
        hidden = self.conv_out(self.dropout(hidden))
        if self.on_the_way_up and self.skip is not None:
            x = self.skip(x)
        x = _sum(x, hidden, 0.3)
        if self.qkv is not None and self.mix is not None:
            parts = _unit_over(self.qkv(x).flatten(2).unflatten(1, (3, self.heads, -1)), 3)
            q, k, v = parts.transpose(-2, -1).unbind(1)
            x = _sum(x, self.mix(attend(q, k, v).transpose(-2, -1).reshape(x.shape)), 0.3)
        return x.clamp(-256, 256)


def _unit(weight: Tensor) -> Tensor:
    """Rows of root mean square 1."""
    length = torch.linalg.vector_norm(weight.flatten(1), dim=1) / math.sqrt(weight[0].numel())
    return weight / (length + 1e-4).reshape(-1, *(1,) * (weight.ndim - 1))


def _unit_over(x: Tensor, dim: int) -> Tensor:
    """Features of root mean square 1 over a dimension."""
    precise = x.float() if x.dtype.itemsize < 4 else x
    return (precise * (precise.square().mean(dim, keepdim=True) + 1e-8).rsqrt()).to(x.dtype)


def _silu(x: Tensor) -> Tensor:
    return F.silu(x) / 0.596


def _sum(a: Tensor, b: Tensor, share: float) -> Tensor:
    return torch.lerp(a, b, share) / math.sqrt((1 - share) ** 2 + share**2)


def _join(a: Tensor, b: Tensor) -> Tensor:
    """Both side by side, either one with half of the power."""
    n, m = a.shape[1], b.shape[1]
    return torch.cat([a * math.sqrt((n + m) / (2 * n)), b * math.sqrt((n + m) / (2 * m))], 1)
