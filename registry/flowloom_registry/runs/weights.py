"""A flow's weights as the bytes of a safetensors file, and back from a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import nn

from flowloom.errors import RunError
from flowloom.flow import Flow
from flowloom.parts import load_tensors, tensors
from flowloom.training.checkpoint import checkpoints, read_tensors, trained_tensors
from flowloom.training.parallel import whole
from flowloom_registry.runs.folder import RunFolder


def weights_of(module: nn.Module, metadata: Mapping[str, str] | None = None) -> bytes:
    """Every parameter and buffer once, on the CPU, with ``metadata`` in the file's head.

    Of a sharded module all processes ask at once.
    """
    # Cloned, because safetensors refuses tensors that share memory.
    values = {k: whole(v.detach()).cpu().contiguous().clone() for k, v in tensors(module).items()}
    return save(values, dict(metadata) if metadata is not None else None)


def restore(flow: Flow, folder: RunFolder) -> None:
    """Load a run's trained weights into its flow.

    Raises:
        RunError: there are none yet, or they belong to another flow.
    """
    weights = _weights(folder)
    while True:
        try:
            values = read_tensors(weights) if weights.is_file() else trained_tensors(weights)
            break
        except RunError:
            # A run at work deletes old checkpoints: there is a newer one then.
            before, weights = weights, _weights(folder)
            if weights == before:
                raise
    load_tensors(flow, values, weights)


def _weights(folder: RunFolder) -> Path:
    """What holds the weights that count: the file of the end or of the best, or the last checkpoint."""
    kept = folder.kept_weights()
    if kept is not None:
        return kept
    saved = checkpoints(folder.checkpoints)
    if not saved:
        raise RunError(f"{folder.path} has no weights yet; continue it with: flowloom run {folder.path}")
    return saved[-1]
