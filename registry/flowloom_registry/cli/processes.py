"""One command in several processes, as ``torchrun`` starts them: who speaks, and the group they form."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import TYPE_CHECKING

from flowloom.errors import RunError, StoppedElsewhereError
from flowloom_registry.errors import one_line

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

_TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE = timedelta(hours=24)
"""How long processes wait for each other: the first one judges while the others wait for the next stage."""
_MEETING = timedelta(minutes=5)
"""How long they wait for all of them to be there."""
_LAST_WORDS = 5.0


class NotMetError(RunError):
    """Processes of one command did not find each other."""


def rank() -> int:
    """Number of this process; 0 of one alone."""
    return int(os.environ["RANK"]) if several() else 0


def size() -> int:
    """How many processes there are."""
    return int(os.environ["WORLD_SIZE"]) if several() else 1


def on_this_machine() -> int:
    """How many of them are here; all of them where nobody says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", size())) if several() else 1


def several() -> bool:
    """Whether this is one of the processes of a launcher."""
    return all(name in os.environ for name in _TOLD)


def speaks(error: BaseException) -> bool:
    """Whether this process is the one to tell what went wrong, which is told once among all of them."""
    if isinstance(error, StoppedElsewhereError):
        return False
    if size() == 1:
        return True
    if not (_agent() or _grouped()):
        # What is wrong before there is a group is wrong in all; but who is alone has to say so.
        return rank() == 0 or isinstance(error, NotMetError)
    try:
        return _store().add(_key("told"), 1) == 1
    except Exception:  # the launcher is gone, and whoever kept count with it
        return True


def leave() -> None:
    """Wait a little for the others' last questions, where this process keeps count."""
    if not several() or _agent() or not _grouped():
        return
    try:
        store, deadline = _store(), time.monotonic() + _LAST_WORDS
        left = store.add(_key("left"), 1)
        while rank() == 0 and left < size() and time.monotonic() < deadline:
            time.sleep(0.02)
            left = store.add(_key("left"), 0)
    except Exception:  # it left before
        return


@contextmanager
def group(device: str | None) -> Iterator[str | None]:
    """The processes as one group, all but the first one silent; yields the device of this one.

    Args:
        device: as asked for; with GPUs and nothing asked for, each process has the one of its local rank.

    Raises:
        NotMetError: they cannot meet.
    """
    if not several():
        yield device
        return
    # Parameters that a loss does not reach are allowed; torch would say of every turn that there are none.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    import torch.distributed as dist

    if device is None and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    on_gpu = device is not None and device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    _meet("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    from flowloom.training.parallel import leave_word

    try:
        if rank() == 0:
            yield device
        else:
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                yield device
    except BaseException as error:
        leave_word(error)
        raise
    dist.destroy_process_group()


def _meet(backend: str) -> None:
    """Form the group.

    Raises:
        NotMetError: they cannot, or not all of them came in time.
    """
    import torch.distributed as dist

    failed: list[Exception] = []

    def form() -> None:
        try:
            dist.init_process_group(backend, timeout=_PATIENCE)
        except Exception as error:
            failed.append(error)

    # In a thread, because torch waits without end for a server that is none of ours and does not answer.
    meeting = threading.Thread(target=form, daemon=True)
    meeting.start()
    meeting.join(_MEETING.total_seconds())
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    if meeting.is_alive():
        seconds = _MEETING.total_seconds()
        raise NotMetError(
            f"process {rank()} of {size()} waited {seconds:g} s at {where} and did not meet all others; look "
            f"at what process 0 says, whether all {size()} were started, and whether MASTER_ADDR and "
            "MASTER_PORT are its machine and a free port there, the same for all"
        )
    for error in failed:
        if not isinstance(error, dist.DistError):
            raise error
        raise NotMetError(
            f"the processes cannot meet at {where}; is the port in use? set another MASTER_PORT "
            f"({one_line(error)})"
        ) from error


def _agent() -> bool:
    """Whether the launcher keeps the store, so that it is there before and after any process."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _grouped() -> bool:
    dist = sys.modules.get("torch.distributed")
    return dist is not None and dist.is_initialized()


def _key(name: str) -> str:
    return f"flowloom/{name}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _store() -> TCPStore:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(
        host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=_LAST_WORDS)
    )
