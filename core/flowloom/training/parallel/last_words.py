"""Why a process of a training stops, left for the others in the store where they met."""

from __future__ import annotations

from contextlib import suppress

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store, _get_default_store

from flowloom.errors import FlowloomError, ProcessLostError, StoppedElsewhereError

__all__ = ["leave_word", "word_of_another"]

_KEY = "flowloom/last-words"


def leave_word(error: BaseException) -> None:
    """Leave what this process stops of. The first one is heard, and nobody who stops of another's end.

    Args:
        error: that ends it.
    """
    if not dist.is_initialized() or isinstance(error, (ProcessLostError, StoppedElsewhereError)):
        return
    said = next(iter(str(error).splitlines()), "")
    if not isinstance(error, FlowloomError):
        said = f"{type(error).__name__}: {said}".removesuffix(": ")
    with suppress(Exception):  # the store is gone with the process that kept it
        _store().compare_set(_KEY, "", f"process {dist.get_rank()} of this training stopped: {said}")


def word_of_another() -> str:
    """What is known of why another process is gone, in one line."""
    try:
        if _store().check([_KEY]):
            return _store().get(_KEY).decode()
    except Exception:
        return "process 0 of this training, which kept count, ended; what it said itself tells why"
    return "another process of this training ended without a word (killed, or out of memory?)"


def _store() -> Store:
    return _get_default_store()
