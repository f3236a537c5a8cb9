"""A module's weights as the bytes of a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping

from safetensors.torch import save
from torch import nn


def weights_of(module: nn.Module, metadata: Mapping[str, str] | None = None) -> bytes:
    """Everything in the state dict, on the CPU, with ``metadata`` in the file's head."""
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()}
    return save(tensors, dict(metadata) if metadata is not None else None)
