"""Two warnings of torch that tell nobody anything here; every other one is let through."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]

_SILENT = (
    # An FSDP2 module whose output is a view loses its hook where somebody changes that output in place.
    # Networks and objectives here work out of place: torch.func.jvp and checkpointing ask it of them too.
    r"FSDP2-wrapped module .* returned a view tensor",
    # A checkpoint in shares is read, and written, by one process as well as by many: it is asked to be.
    r"torch\.distributed is disabled, unavailable or uninitialized, assuming the intent is to",
)
"""Beginnings of the messages."""


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, these two are not shown."""
    with warnings.catch_warnings():
        for message in _SILENT:
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield
