"""Codecs of the transformers library: waveforms as latents or tokens of EnCodec, DAC and Mimi."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.codecs import Codec
from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.libraries import transformers
from flowloom.spec import Spec
from flowloom.state import Cond

__all__ = ["PretrainedCodec", "model_of"]


class PretrainedCodec(Codec):
    """Waveforms ``(samples,)`` as tokens ``(frames, codebooks)`` of a residual vector-quantised codec.

    Marks of real samples become marks of real frames. Weights are never downloaded without being asked for: a
    folder is read, and only a name that is no folder is looked up on the Hugging Face hub.

    Args:
        spec: of the data; injected from the recipe.
        pretrained: folder (or name on the hub) of trained weights.
        config: instead, a new codec with random weights: ``model_type`` (``encodec``, ``dac`` or ``mimi``)
            and settings of its configuration.
        codebooks: how many of its codebooks are used, the coarsest first; all where None.

    Raises:
        IncompatibleError: the data are no waveforms, or the codec cannot be loaded or is of another kind.
    """

    lossy: ClassVar[bool] = True

    def __init__(
        self,
        spec: Spec,
        pretrained: str | None = None,
        config: Mapping[str, Any] | None = None,
        codebooks: int | None = None,
    ) -> None:
        super().__init__(spec)
        if spec.parts or spec.vocab is not None or len(spec.shape) != 1:
            raise IncompatibleError(
                f"codec pretrained-audio is for waveforms (samples,); the data has {spec.event_shape()}"
            )
        self.body = model_of("codec pretrained-audio", pretrained, config).requires_grad_(False).eval()
        settings = self.body.config
        self.kind = str(settings.model_type)
        if self.kind not in ("encodec", "dac", "mimi"):
            raise IncompatibleError(f"codec pretrained-audio is of encodec, dac or mimi, not {self.kind}")
        own = int(settings.sampling_rate)
        if spec.rate is not None and spec.rate != own:
            raise IncompatibleError(
                f"this codec is of sound of {own} Hz, and the data have {spec.rate}; set data.rate to {own}"
            )
        most = int(_first(settings, "num_quantizers", "n_codebooks", "num_codebooks"))
        if codebooks is not None and not 1 <= codebooks <= most:
            raise IncompatibleError(f"this codec has 1 to {most} codebooks, not {codebooks}")
        self.codebooks, self.vocab = codebooks or most, int(settings.codebook_size)
        with torch.no_grad():
            # Asked and not computed: strides and padding differ by kind and version.
            self.frames = self._tokens(torch.zeros(1, spec.shape[0])).shape[1]

    @property
    def spec(self) -> Spec:
        """Tokens, with marks over frames."""
        conditions = {
            name: replace(c, shape=(self.frames,)) if c.role in ("real", "given") else c
            for name, c in self.data_spec.conditions.items()
            if c.role not in ("values", "start")
        }
        return Spec((self.frames, self.codebooks), vocab=self.vocab, conditions=conditions)

    def encode(self, examples: Examples, generator: torch.Generator | None = None) -> Examples:
        """Tokens with conditions over frames."""
        waves: Any = examples.x
        layout = Layout.of(self.data_spec, examples.cond)
        waves = waves if layout is None else layout.zero(waves)
        # Row by row: in company a row would be normalised and padded as the longest is.
        tokens = torch.cat([self._tokens(wave[None]) for wave in waves])
        return Examples(tokens, dict(self.encode_conditions(examples.cond)))

    def encode_conditions(self, cond: Cond) -> Cond:
        """Marks of frames: one is real where any of its samples is, given where all are."""
        found = dict(cond)
        for name, condition in self.data_spec.conditions.items():
            if condition.role not in ("real", "given") or name not in found:
                continue
            blocks = self._blocks(found[name].bool(), condition.role == "given")
            found[name] = blocks.all(2) if condition.role == "given" else blocks.any(2)
        return found

    def decode(self, examples: Examples) -> Examples:
        """Waveforms, silent in padding."""
        tokens: Any = examples.x
        samples = self.data_spec.shape[0]
        waves = torch.cat([self._wave(row[None], samples) for row in tokens])
        cond = dict(examples.cond)
        for name, condition in self.data_spec.conditions.items():
            if condition.role in ("real", "given") and name in cond:
                size = -(-samples // self.frames)
                cond[name] = cond[name].repeat_interleave(size, 1)[:, :samples]
        layout = Layout.of(self.data_spec, cond)
        return Examples(waves if layout is None else layout.zero(waves), cond)

    def _blocks(self, marks: Tensor, filled: bool) -> Tensor:
        size = -(-marks.shape[1] // self.frames)
        short = size * self.frames - marks.shape[1]
        return torch.nn.functional.pad(marks, (0, short), value=filled).unflatten(1, (self.frames, size))

    def _tokens(self, waves: Tensor) -> Tensor:
        """``(n, samples)`` to ``(n, frames, codebooks)``."""
        with torch.no_grad():
            if self.kind == "dac":
                codes = self.body.encode(waves[:, None]).audio_codes
            elif self.kind == "mimi":
                codes = self.body.encode(waves[:, None], num_quantizers=self.codebooks).audio_codes
            else:
                bandwidth = max(self.body.config.target_bandwidths)
                codes = self.body.encode(waves[:, None], bandwidth=bandwidth).audio_codes[0]
        return codes[:, : self.codebooks].transpose(1, 2)

    def _wave(self, tokens: Tensor, samples: int) -> Tensor:
        """``(n, frames, codebooks)`` to ``(n, samples)``."""
        codes = tokens.transpose(1, 2)
        with torch.no_grad():
            if self.kind == "dac":
                wave = self.body.decode(audio_codes=codes).audio_values
            elif self.kind == "mimi":
                wave = self.body.decode(codes).audio_values
            else:
                wave = self.body.decode(codes[None], [None]).audio_values
        wave = wave.reshape(len(tokens), -1)[:, :samples]
        return torch.nn.functional.pad(wave, (0, samples - wave.shape[1]))


def model_of(who: str, pretrained: str | None, config: Mapping[str, Any] | None) -> Any:
    """A model of transformers from a folder or name, or a new one from a configuration.

    Args:
        who: asks, for messages.
        pretrained: folder, or name on the hub.
        config: ``model_type`` and settings.

    Raises:
        IncompatibleError: not exactly one is given, or it cannot be loaded.
    """
    if (pretrained is None) == (config is None):
        raise IncompatibleError(f"{who} takes either pretrained: FOLDER or config: {{model_type: ...}}")
    library = transformers()
    try:
        if pretrained is not None:
            return library.AutoModel.from_pretrained(pretrained, local_files_only=Path(pretrained).is_dir())
        settings = dict(config or {})
        kind = settings.pop("model_type", None)
        if kind is None:
            raise IncompatibleError(f"{who}: config needs model_type, such as encodec, dac or mimi")
        return library.AutoModel.from_config(library.AutoConfig.for_model(str(kind), **settings))
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise IncompatibleError(f"{who} cannot load {pretrained or 'this configuration'}: {first}") from error


def _first(settings: Any, *names: str) -> Any:
    """The first of some settings that there is: kinds of codecs name one thing differently."""
    return next(getattr(settings, name) for name in names if hasattr(settings, name))
