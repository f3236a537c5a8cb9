"""Samples a second: the data say it, or somebody must."""

from __future__ import annotations

from flowloom.errors import IncompatibleError
from flowloom.spec import Spec

__all__ = ["rate_of"]


def rate_of(spec: Spec, given: int | None, who: str) -> int:
    """Samples a second: as the data say, else as given.

    Args:
        spec: of waveforms.
        given: what ``who`` was told.
        who: asks.

    Raises:
        IncompatibleError: neither says it, or they differ.
    """
    if spec.rate is None and given is None:
        raise IncompatibleError(f"{who} must know the rate of the data, which do not say it; give rate")
    if spec.rate is not None and given is not None and spec.rate != given:
        raise IncompatibleError(
            f"{who} is told a rate of {given} Hz, and the data have {spec.rate}; set rate so"
        )
    rate = spec.rate if given is None else given
    assert rate is not None
    return rate
