"""A flow's weights as the bytes of a safetensors file, and back from a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import nn

from flowloom.errors import RunError
from flowloom.flow import Flow
from flowloom.parts import load_tensors, tensors
from flowloom.training.checkpoint import checkpoints, read_tensors
from flowloom_registry.runs.folder import RunFolder


def weights_of(module: nn.Module, metadata: Mapping[str, str] | None = None) -> bytes:
    """Every parameter and buffer once, on the CPU, with ``metadata`` in the file's head."""
    # Cloned, because safetensors refuses tensors that share memory.
    values = {k: v.detach().cpu().contiguous().clone() for k, v in tensors(module).items()}
    return save(values, dict(metadata) if metadata is not None else None)


def restore(flow: Flow, folder: RunFolder) -> None:
    """Load a run's trained weights into its flow.

    Raises:
        RunError: there are none yet, or they belong to another flow.
    """
    weights = _weights(folder)
    while True:
        try:
            values = read_tensors(weights)
            averaged = weights.with_name("ema.safetensors")
            if averaged.is_file():
                # Averages cover what is trained; everything else comes from the plain file beside them.
                values |= read_tensors(averaged)
            break
        except RunError:
            # A run at work deletes old checkpoints: there is a newer one then.
            before, weights = weights, _weights(folder)
            if weights == before:
                raise
    load_tensors(flow, values, weights)


def _weights(folder: RunFolder) -> Path:
    """The file of the weights that count: of the end, the best so far, or of the last checkpoint."""
    kept = folder.kept_weights()
    if kept is not None:
        return kept
    saved = checkpoints(folder.checkpoints)
    if not saved:
        raise RunError(f"{folder.path} has no weights yet; continue it with: flowloom run {folder.path}")
    return saved[-1] / "flow.safetensors"
