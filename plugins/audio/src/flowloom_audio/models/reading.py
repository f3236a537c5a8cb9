"""How a network of speech reads its conditions: text, voices and frames beside the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import withheld
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec

__all__ = ["Heard", "TextEncoder", "VoiceEncoder", "beside", "heard", "symbols_in"]


@dataclass(frozen=True)
class Heard:
    """Conditions of a spec of frames ``(frames, bands)``, told apart by their shapes.

    Args:
        texts: ids of symbols ``(symbols,)``.
        beside: one vector for every frame of the state, ``(frames, any)``.
        voices: recordings of another length, ``(other frames, bands)``.
        whole: of the example as a whole: classes, numbers, and settings such as a second time.
        ignored: of those that inform, what is told to no network.
    """

    texts: tuple[str, ...]
    beside: tuple[str, ...]
    voices: tuple[str, ...]
    whole: Mapping[str, Condition]
    ignored: tuple[str, ...] = ()


def heard(spec: Spec, ignore: Sequence[str], voices: Sequence[str], who: str) -> Heard:
    """Tell the conditions of a spec apart.

    Args:
        spec: of the states.
        ignore: conditions that the network is not told.
        voices: conditions that are recordings of their own although they have as many frames as the state.
        who: the network, for messages.

    Raises:
        IncompatibleError: the states are no frames, or a condition fits nothing.
    """
    if spec.parts or spec.vocab is not None or len(spec.shape) != 2:
        raise IncompatibleError(
            f"{who} reads frames (frames, bands), and the data has shape {spec.event_shape()}; "
            "use codec: log-mel on waveforms"
        )
    for name in ignore:
        if name not in spec.conditions:
            raise IncompatibleError(f"{who} is to ignore '{name}'; conditions: {', '.join(spec.conditions)}")
    texts, beside, recordings, whole = [], [], [], {}
    for name, condition in spec.conditions.items():
        if name in ignore or condition.role not in ("inform", "setting"):
            continue
        if condition.role == "setting" or len(condition.shape) == 0:
            whole[name] = condition
        elif condition.classes is not None and len(condition.shape) == 1:
            texts.append(name)
        elif (
            len(condition.shape) == 2
            and condition.shape[1] == spec.shape[1]
            and (name in voices or condition.shape[0] != spec.shape[0])
        ):
            recordings.append(name)
        elif len(condition.shape) == 2 and condition.shape[0] == spec.shape[0]:
            beside.append(name)
        elif condition.classes is None and len(condition.shape) == 1:
            whole[name] = condition
        else:
            raise IncompatibleError(
                f"{who} cannot read the condition '{name}' of shape {condition.shape}: neither text, nor "
                "frames, nor a voice; name it in ignore"
            )
    ignored = tuple(name for name in spec.named("inform") if name in ignore)
    return Heard(tuple(texts), tuple(beside), tuple(recordings), whole, ignored)


def beside(cond: Mapping[str, Tensor | None], name: str, missing: Tensor, x: Tensor) -> Tensor:
    """Frames of a condition as long as ``x``; the learned ``missing`` where they are withheld."""
    frames = cond.get(name)
    if frames is None:
        return missing.expand(*x.shape[:2], -1)
    # A batch that is cut to its longest row is shorter than what informs it.
    frames = frames[:, : x.shape[1]].to(x.dtype)
    rows = withheld(cond, name)
    return frames if rows is None else torch.where(rows[:, None, None], missing, frames)


def symbols_in(ids: Tensor) -> Tensor:
    """How many symbols every row of ids ``(batch, symbols)`` has, at least 1: ``(batch,)``."""
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    return ((ids > 0) * places).amax(1).clamp_min(1)


class TextEncoder(nn.Module):
    """Ids of symbols as vectors that know their neighbours: an embedding and residual convolutions.

    Args:
        symbols: number of ids; 0 is padding.
        width: of the vectors.
        depth: number of convolutions.
        kernel: of each.
    """

    def __init__(self, symbols: int, width: int, depth: int = 3, kernel: int = 5) -> None:
        super().__init__()
        self.table = nn.Embedding(symbols, width)
        nn.init.normal_(self.table.weight, std=0.5)
        self.mix = nn.ModuleList(nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(depth))

    def forward(self, ids: Tensor) -> Tensor:
        """Ids ``(batch, symbols)`` to vectors ``(batch, symbols, width)``, 0 in padding."""
        real = (torch.arange(ids.shape[1], device=ids.device) < symbols_in(ids)[:, None])[..., None]
        x = self.table(ids) * real
        for mix, norm in zip(self.mix, self.norms, strict=True):
            x = x + F.gelu(mix((norm(x) * real).transpose(1, 2))).transpose(1, 2) * real
        return x


class VoiceEncoder(nn.Module):
    """A recording as a few tokens and one vector: two convolutions that halve its frames.

    A row whose recording is withheld or missing has learned ones instead.

    Args:
        bands: of its frames.
        width: of tokens and vector.
    """

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(bands, width, 5, 2, 2)
        self.second = nn.Conv1d(width, width, 5, 2, 2)
        self.pooled = nn.Linear(2 * width, width)
        self.null = nn.Parameter(0.02 * torch.randn(2, width))

    def forward(
        self, cond: Mapping[str, Tensor | None], name: str, batch: int, frames: int
    ) -> tuple[Tensor, Tensor]:
        """Tokens ``(batch, tokens, width)`` and vectors ``(batch, width)`` of the recording ``name``.

        Args:
            cond: conditions.
            name: of the recording, ``(batch, frames, bands)``.
            batch: rows.
            frames: that a recording has, for rows without one.
        """
        missing_token, missing = self.null[0], self.null[1]
        recording = cond.get(name)
        if recording is None:
            tokens = missing_token.expand(batch, -(-frames // 4), -1)
            return tokens, missing.expand(batch, -1)
        dtype = self.first.weight.dtype
        x = F.gelu(self.first(recording.to(dtype).transpose(1, 2)))
        tokens = F.gelu(self.second(x)).transpose(1, 2)
        vector = self.pooled(torch.cat([tokens.mean(1), tokens.std(1, correction=0)], -1))
        rows = withheld(cond, name)
        if rows is not None:
            tokens = torch.where(rows[:, None, None], missing_token, tokens)
            vector = torch.where(rows[:, None], missing, vector)
        return tokens, vector
