"""Which tokens of a frame say what."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.spec import Spec

__all__ = ["Streams"]


@dataclass(frozen=True)
class Streams:
    """The streams of a frame of tokens, in the order prosody, content, acoustic.

    Args:
        prosody: how many.
        content: how many; 0 where the codec has none that text alone decides.
        acoustic: how many.
    """

    prosody: int
    content: int
    acoustic: int

    @classmethod
    def of(cls, spec: Spec, prosody: int, content: int, who: str) -> Streams:
        """Those of a spec, the rest of which are acoustic.

        Args:
            spec: of frames of tokens ``(frames, streams)``.
            prosody: how many.
            content: how many.
            who: asks, for messages.

        Raises:
            IncompatibleError: the states are no such tokens, or too few of them.
        """
        if spec.parts or spec.vocab is None or len(spec.shape) != 2:
            raise IncompatibleError(
                f"{who} is for tokens (frames, streams), and the data is {spec.in_words()}; "
                "use codec: learned-sound with a wave-quantiser, or pretrained-audio, on waveforms"
            )
        acoustic = spec.shape[1] - prosody - content
        if prosody < 1 or content < 0 or acoustic < 1:
            raise IncompatibleError(
                f"{who} has {prosody} prosody and {content} content streams, which leaves {acoustic} of the "
                f"{spec.shape[1]} in the data to acoustics; take at least 1 of prosody and leave at least 1"
            )
        return cls(prosody, content, acoustic)

    @property
    def held(self) -> slice:
        """The columns of content."""
        return slice(self.prosody, self.prosody + self.content)

    def given(self, like: Tensor) -> Tensor:
        """Marks of the tokens that the flow does not make: True in columns of content."""
        marks = torch.zeros_like(like, dtype=torch.bool)
        marks[..., self.held] = True
        return marks
