"""A module's weights as the bytes of a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping

from safetensors.torch import save
from torch import nn

from flowloom.parts import tensors


def weights_of(module: nn.Module, metadata: Mapping[str, str] | None = None) -> bytes:
    """Every parameter and buffer once, on the CPU, with ``metadata`` in the file's head."""
    # Cloned, because safetensors refuses tensors that share memory.
    values = {k: v.detach().cpu().contiguous().clone() for k, v in tensors(module).items()}
    return save(values, dict(metadata) if metadata is not None else None)
