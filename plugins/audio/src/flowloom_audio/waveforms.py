"""Whether data are waveforms."""

from __future__ import annotations

from flowloom.errors import IncompatibleError
from flowloom.spec import Spec

__all__ = ["require_waves"]


def require_waves(spec: Spec, who: str) -> None:
    """Ask for waveforms.

    Args:
        spec: of the data.
        who: asks, for the message: ``codec log-mel``.

    Raises:
        IncompatibleError: the data are something else.
    """
    if spec.parts or spec.vocab is not None or len(spec.shape) != 1:
        raise IncompatibleError(f"{who} is for waveforms (samples,), not {spec.event_shape()}")
