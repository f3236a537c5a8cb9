"""A large transformer that reads an image once, and a small head that flows through velocities of a token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import or_zeros
from flowloom.errors import IncompatibleError
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.attention import attend, turn
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import Cond, Time
from flowloom_fewstep.nested_mlp import NestedModel
from flowloom_fewstep.plane_angles import plane_angles

__all__ = ["NestedDiT"]


class NestedDiT(NestedModel):
    r"""The backbone and flow head of difference transition matching (Shaul et al. 2506.23589) on images.

    The trunk is a transformer whose blocks attend to the image, then to the text, then feed forward. In place
    of its last layer a perceptron with adaptive norms (the diffusion head of MAR, Li et al. 2406.11838) draws
    the velocity of every token by itself, told the token's features h and the inner time:

    .. math:: a(y, \tau, h)_n = \mathrm{MLP}\big(y_n;\ W h_n + e_\tau\big), \qquad
              y_n \leftarrow y_n + g \cdot \mathrm{MLP}'\big((1 + s)\,\mathrm{norm}(y_n) + b\big)

    with b, s and g of each layer linear in what is told. The defaults, on 32 x 32 x 4 latents with 4,096
    text features, are the paper's: 24 blocks of width 2,048 and 16 heads, patches of 2, a head of 6 layers
    of width 1,024.

    The paper gives the trunk's size, 1.7 B, and not how time and text enter it. Here both do as in
    PixArt-alpha (2310.00426): one adaptive norm that all blocks share, each with offsets of its own, and two
    layers on the text. That makes 1.65 B, and 1.69 B with the head; a norm for each block would make 2.3 B.
    Positions are rotary, of two dimensions, where the paper has an embedding of three; neither is counted.

    Args:
        spec: of the data: images of real values.
        width: of the trunk's tokens.
        depth: blocks of the trunk.
        heads: of its attention.
        patch: width of a patch in pixels, which is a token.
        text: condition of shape ``(tokens, features)`` that blocks attend to; None for none. Where it is
            withheld there are zeros in its place. Other conditions are added to the time.
        head_width: of the head.
        head_depth: layers of the head.

    Raises:
        IncompatibleError: the data are no images, the patch does not divide them, or the text is missing.
        ValueError: heads do not divide the width into multiples of 4.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 2048,
        depth: int = 24,
        heads: int = 16,
        patch: int = 2,
        text: str | None = "text",
        head_width: int = 1024,
        head_depth: int = 6,
    ) -> None:
        super().__init__()
        require_sizes(
            width=width, depth=depth, heads=heads, patch=patch, head_width=head_width, head_depth=head_depth
        )
        if spec.parts or spec.discrete or len(spec.shape) != 3 or any(n % patch for n in spec.shape[1:]):
            raise IncompatibleError(f"nested-dit cuts images into patches of {patch}, not {spec.in_words()}")
        if width % heads or (width // heads) % 4:
            raise ValueError(f"width over heads must be a multiple of 4, got {width} over {heads}")
        if text is not None and len(getattr(spec.conditions.get(text), "shape", ())) != 2:
            raise IncompatibleError(
                f"nested-dit attends to a condition '{text}' of shape (tokens, features); give null for none"
            )
        channels, height, breadth = spec.shape
        self.spec, self.patch, self.text = spec, patch, text
        self.grid, self.turned = (height // patch, breadth // patch), width // heads // 2
        entries = channels * patch * patch
        rest = {name: c for name, c in spec.conditions.items() if name != text}
        self.time, self.condition = TimeEmbedding(width), ConditionEmbedding(rest, width)
        self.to_text = None if text is None else _text_layers(spec.conditions[text].shape[1], width)
        self.to_tokens, self.steer = nn.Linear(entries, width), nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(_Block(width, heads, told=text is not None) for _ in range(depth))
        self.inner_time, self.told = TimeEmbedding(head_width), nn.Linear(width, head_width)
        self.into = nn.Linear(entries, head_width)
        self.layers = nn.ModuleList(_HeadLayer(head_width) for _ in range(head_depth))
        self.steer_out, self.out = nn.Linear(head_width, 2 * head_width), nn.Linear(head_width, entries)
        for layer in (self.steer, self.steer_out, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def features(self, x: Tensor, t: Time, cond: Cond) -> Tensor:
        """What the head is told of states ``(batch, C, H, W)``: ``(batch, patches, width)``."""
        assert isinstance(t, Tensor)
        shared = self.steer(F.silu(self.time(t) + self.condition(cond, len(x)))).unflatten(-1, (6, -1))
        text, angles = self._text(x, cond), plane_angles(self.grid, self.turned, x)
        tokens = self.to_tokens(self._patches(x))
        for block in self.blocks:
            tokens = block(tokens, shared, text, angles)
        return _normal(tokens)

    def head(self, y: Tensor, tau: Tensor, features: Tensor) -> Tensor:
        """The inner velocity of every token by itself, ``(batch, C, H, W)``."""
        told = F.silu(self.told(features) + self.inner_time(tau)[:, None])
        hidden = self.into(self._patches(y))
        for layer in self.layers:
            hidden = layer(hidden, told)
        shift, scale = self.steer_out(told).chunk(2, -1)
        tokens = self.out(_normal(hidden) * (1 + scale) + shift)
        return F.fold(tokens.transpose(1, 2), y.shape[-2:], self.patch, stride=self.patch)

    def _patches(self, x: Tensor) -> Tensor:
        return F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)

    def _text(self, x: Tensor, cond: Cond) -> Tensor | None:
        if self.text is None or self.to_text is None:
            return None
        told: Tensor = self.to_text(or_zeros(cond, self.text, self.spec.conditions[self.text].shape, x))
        return told


class _Block(nn.Module):
    """Attention, attention to the text, feed-forward; the first and the last steered by what is shared."""

    def __init__(self, width: int, heads: int, told: bool) -> None:
        super().__init__()
        self.heads = heads
        self.offsets = nn.Parameter(torch.randn(6, width) / width**0.5)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ask = nn.Linear(width, width) if told else None
        self.answer = nn.Linear(width, 2 * width) if told else None
        self.tell = nn.Linear(width, width) if told else None
        if self.tell is not None:  # as in PixArt-alpha: the text is heard when there is something to hear
            nn.init.zeros_(self.tell.weight)
            nn.init.zeros_(self.tell.bias)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(
        self, x: Tensor, shared: Tensor, text: Tensor | None, angles: tuple[Tensor, Tensor]
    ) -> Tensor:
        shift, scale, gate, shift_feed, scale_feed, gate_feed = (shared + self.offsets)[:, :, None].unbind(1)
        q, k, v = self._split(self.qkv(_normal(x) * (1 + scale) + shift), 3)
        x = x + gate * self.mix(attend(turn(q, angles), turn(k, angles), v).transpose(1, 2).flatten(2))
        if text is not None and self.ask is not None and self.answer is not None and self.tell is not None:
            (q,), (k, v) = self._split(self.ask(x), 1), self._split(self.answer(text), 2)
            x = x + self.tell(attend(q, k, v).transpose(1, 2).flatten(2))
        return x + gate_feed * self.feed(_normal(x) * (1 + scale_feed) + shift_feed)

    def _split(self, tokens: Tensor, parts: int) -> tuple[Tensor, ...]:
        return tokens.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


class _HeadLayer(nn.Module):
    """A layer of the head: two linear maps, normalised, steered and gated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.steer = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        shift, scale, gate = self.steer(told).chunk(3, -1)
        fed: Tensor = self.feed(self.norm(x) * (1 + scale) + shift)
        return x + gate * fed


def _text_layers(features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.GELU("tanh"), nn.Linear(width, width))


def _normal(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)
