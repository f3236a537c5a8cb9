"""Codecs of the transformers library: waveforms as latents or tokens of EnCodec, DAC and Mimi."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.libraries import transformers
from flowloom.spec import Spec
from flowloom_audio.codecs.framed import FramedCodec

__all__ = ["PretrainedCodec", "model_of"]


class PretrainedCodec(FramedCodec):
    """Waveforms ``(samples,)`` as tokens ``(frames, codebooks)`` of a residual vector-quantised codec.

    Marks of real samples become marks of real frames; prompts and other waveforms among the conditions become
    tokens too. Weights are never downloaded without being asked for: a folder is read, and only a name that
    is no folder is looked up on the Hugging Face hub.

    Args:
        spec: of the data; injected from the recipe.
        pretrained: folder (or name on the hub) of trained weights.
        config: instead, a new codec with random weights: ``model_type`` (``encodec``, ``dac`` or ``mimi``)
            and settings of its configuration.
        codebooks: how many of its codebooks are used, the coarsest first; all where None.
        also: further conditions that are waveforms; those that the data lack are passed over.

    Raises:
        IncompatibleError: the data are no waveforms, or the codec cannot be loaded or is of another kind.
    """

    def __init__(
        self,
        spec: Spec,
        pretrained: str | None = None,
        config: Mapping[str, Any] | None = None,
        codebooks: int | None = None,
        also: Sequence[str] = ("prompt", "degraded", "reference"),
    ) -> None:
        super().__init__(spec, also, "codec pretrained-audio")
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
        self.codebooks, self._vocab = codebooks or most, int(settings.codebook_size)
        self._counts: dict[int, int] = {}

    @property
    def entries(self) -> int:
        """Codebooks in use."""
        return self.codebooks

    @property
    def vocab(self) -> int:
        """Entries of a codebook."""
        return self._vocab

    def count(self, samples: int) -> int:
        """Asked and not computed: strides and padding differ by kind and version."""
        if samples not in self._counts:
            with torch.no_grad():
                silence = torch.zeros(1, samples, device=next(self.body.parameters()).device)
                self._counts[samples] = self._tokens(silence).shape[1]
        return self._counts[samples]

    def coded(self, waves: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Row by row: in company a row would be normalised and padded as the longest is."""
        return torch.cat([self._tokens(wave[None]) for wave in waves])

    def sound(self, frames: Tensor, samples: int) -> Tensor:
        """Waveforms; what has not arrived (the mask of a flow) sounds as entry 0."""
        known = frames * (frames < self.vocab)
        return torch.cat([self._wave(row[None], samples) for row in known])

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
