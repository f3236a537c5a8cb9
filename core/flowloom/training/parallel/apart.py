"""What a process of a training has otherwise than the first one: the queue of its own rows, say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from flowloom.training.parallel.world import World, noticing_loss

__all__ = ["apart"]


def apart(values: Mapping[str, Tensor], world: World) -> dict[str, Tensor]:
    """Those of this process's tensors that the first one has otherwise, or not at all; all ask together.

    Args:
        values: by name, whole ones.
        world: of the processes.

    Raises:
        ProcessLostError: another process is gone.
    """
    if world.size == 1:
        return {}
    own = {name: _digest(value) for name, value in values.items()}
    told = [own]
    with noticing_loss():
        dist.broadcast_object_list(told, 0)
    return {name: value for name, value in values.items() if told[0].get(name) != own[name]}


def _digest(value: Tensor) -> str:
    data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return f"{value.dtype}{tuple(value.shape)}{hashlib.sha256(data).hexdigest()}"
