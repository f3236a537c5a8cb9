"""A transformer on frames of speech that is told text, voices and frames beside its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import withheld
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.attention import rotary
from flowloom.models.block import Block
from flowloom.models.sizes import require_sizes
from flowloom.module_names import module_name
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom.trained import Trained
from flowloom_audio.models.pretrained import go_on_from
from flowloom_audio.models.reading import TextEncoder, VoiceEncoder, beside, heard, symbols_in
from flowloom_audio.text.alignment import spread

__all__ = ["SpeechTransformer"]


class SpeechTransformer(nn.Module):
    """Velocities (or whatever is asked for) of all frames at once, in the manner of Voicebox and F5-TTS.

    How a condition enters is said by its shape (`flowloom_audio.models.reading.heard`):

    * *text* is encoded and spread evenly over the real frames, without durations (ZipVoice 2506.13053), and
      added to them with how far each frame is within its symbol and within the whole;
    * *frames beside the state* (a masked copy, a noisy recording) are concatenated with it (2306.15687,
      2310.16338);
    * *voices* (recordings of another length: a prompt) stand before the frames as tokens to attend to, and
      their mean and deviation steer every block;
    * classes, numbers, settings and time steer every block (adaLN-Zero).

    Blocks are those of DiT with a depthwise convolution before every attention. Withheld conditions have
    learned vectors in their place. Padding is attended to by nobody. Safe under ``torch.func.jvp`` and bf16.

    Args:
        spec: of the states, frames ``(frames, bands)``; injected from the recipe.
        width: of the frames inside.
        depth: number of blocks.
        heads: of the attention.
        kernel: of the convolution in every block, odd.
        text_depth: convolutions over the symbols.
        dropout: in training, after attention and MLP.
        ignore: conditions that it is not told (those that only judges want).
        voices: recordings that have as many frames as the state.
        pretrained: a flow of such a network whose weights this one begins with; what it was not told, such as
            text, enters by new layers (fine-tuning of SpeechFlow, 2310.16338).

    Raises:
        IncompatibleError: sizes do not divide, or the pre-trained network is no part of this one.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 192,
        depth: int = 6,
        heads: int = 4,
        kernel: int = 7,
        text_depth: int = 3,
        dropout: float = 0.0,
        ignore: Sequence[str] = (),
        voices: Sequence[str] = (),
        pretrained: Trained | None = None,
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, heads=heads, kernel=kernel)
        if width % heads or (width // heads) % 2 or kernel % 2 == 0:
            raise IncompatibleError(
                f"width {width} must divide into {heads} heads of even size, kernel be odd"
            )
        self.spec, self.heads = spec, heads
        self.told = heard(spec, ignore, voices, "speech-transformer")
        self.ignored = self.told.ignored
        bands, conditions = spec.shape[1], spec.conditions
        sizes = {name: conditions[name].shape[1] for name in self.told.beside}
        self.enter = nn.Linear(bands + sum(sizes.values()), width)
        self.missing = nn.ParameterDict(
            {module_name(name): nn.Parameter(0.02 * torch.randn(size)) for name, size in sizes.items()}
        )
        self.given = nn.Parameter(0.02 * torch.randn(width)) if spec.named("given") else None
        self.texts, self.silent = nn.ModuleDict(), nn.ParameterDict()
        for name in self.told.texts:
            self.texts[module_name(name)] = TextEncoder(conditions[name].classes or 1, width, text_depth)
            self.silent[module_name(name)] = nn.Parameter(0.02 * torch.randn(width))
        self.progress = nn.Linear(4, width) if self.told.texts else None
        self.voices = nn.ModuleDict(
            {module_name(name): VoiceEncoder(bands, width) for name in self.told.voices}
        )
        self.time = TimeEmbedding(width)
        self.whole = ConditionEmbedding(self.told.whole, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout, kernel) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate, self.out = nn.Linear(width, 2 * width), nn.Linear(width, bands)
        for layer in (self.modulate, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        if pretrained is not None:
            go_on_from(self, pretrained.flow.model)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Frames ``(batch, frames, bands)`` and times ``(batch,)`` to as many frames."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        layout = Layout.of(self.spec, cond) or Layout()
        real = layout.real if layout.real is not None else x.new_ones(x.shape[:2], dtype=torch.bool)
        frames = [beside(cond, name, self.missing[module_name(name)], x) for name in self.told.beside]
        hidden = self.enter(torch.cat([layout.zero(x), *frames], -1))
        if self.given is not None and layout.given is not None:
            hidden = hidden + layout.given[..., None] * self.given
        for name in self.told.texts:
            hidden = hidden + self._spoken(name, real, cond)
        context = self.time(t).to(hidden.dtype) + self.whole(cond, len(x))
        before = []
        for name in self.told.voices:
            length = self.spec.conditions[name].shape[0]
            tokens, vector = self.voices[module_name(name)](cond, name, len(x), length)
            before.append(tokens)
            context = context + vector
        tokens = torch.cat([*before, hidden], 1)
        ahead = tokens.shape[1] - hidden.shape[1]
        seen = None
        if layout.real is not None:
            # A row of padding alone would attend to nothing, which is NaN: let it see its first entry.
            marks = F.pad(real, (ahead, 0), value=True)
            seen = (marks | ~marks.any(1, keepdim=True))[:, None, None]
        steer = F.silu(context)[:, None]
        angles = rotary(tokens.shape[1], tokens.shape[-1] // self.heads, tokens)
        for block in self.blocks:
            tokens = block(tokens, steer, angles, seen)
        shift, scale = self.modulate(steer).chunk(2, -1)
        answer: Tensor = layout.zero(self.out(self.norm(tokens[:, ahead:]) * (1 + scale) + shift))
        return answer

    def _spoken(self, name: str, real: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """The vector of the symbol of every frame, ``(batch, frames, width)``."""
        assert self.progress is not None
        silent, ids = self.silent[module_name(name)], cond.get(name)
        if ids is None:
            return silent.expand(*real.shape, -1)
        frames, symbols = real.sum(1), symbols_in(ids)
        which = spread(symbols, frames, real.shape[1])
        encoded = self.texts[module_name(name)](ids)
        spoken = encoded.gather(1, which[..., None].expand(-1, -1, encoded.shape[-1]))
        places = torch.arange(real.shape[1], device=real.device, dtype=spoken.dtype)
        share = places / frames.clamp_min(1)[:, None]
        within = share * symbols[:, None] - which
        marks = torch.stack(
            [
                within,
                share,
                (torch.pi * share).cos(),
                1 / frames.clamp_min(1)[:, None].sqrt().expand_as(share),
            ],
            -1,
        )
        spoken = spoken + self.progress(marks.to(spoken.dtype))
        rows = withheld(cond, name)
        return spoken if rows is None else torch.where(rows[:, None, None], silent, spoken)
