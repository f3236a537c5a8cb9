"""What networks of waveforms that are told frames ask of their data."""

from __future__ import annotations

from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom_audio.waveforms import require_waves

__all__ = ["frames_told"]


def frames_told(spec: Spec, mel: str, who: str) -> Condition:
    """The condition ``(frames, bands)`` of which every frame is of a whole number of samples.

    Args:
        spec: of the states.
        mel: name of the condition.
        who: the network, for messages.

    Raises:
        IncompatibleError: the states are no waveforms, or there are no such frames.
    """
    require_waves(spec, who)
    frames = spec.conditions.get(mel)
    if frames is None or len(frames.shape) != 2 or spec.shape[0] % frames.shape[0]:
        raise IncompatibleError(
            f"{who} is told frames in the condition '{mel}', each of a whole number of the "
            f"{spec.shape[0]} samples; add the view mel-beside"
        )
    return frames
