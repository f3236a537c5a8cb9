"""A flow's weights as the bytes of a safetensors file, and back from a run's folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import nn

from flowloom.errors import RunError
from flowloom.flow import Flow
from flowloom.parts import load_tensors, tensors
from flowloom.training.checkpoint import checkpoints, read_tensors, trained_tensors
from flowloom.training.parallel import whole
from flowloom_registry.runs.folder import RunFolder, write_bytes


def weights_of(module: nn.Module, metadata: Mapping[str, str] | None = None) -> bytes:
    """Every parameter and buffer once, on the CPU, with ``metadata`` in the file's head.

    Of a sharded module all processes ask at once.
    """
    # Cloned, because safetensors refuses tensors that share memory.
    values = {k: whole(v.detach()).cpu().contiguous().clone() for k, v in tensors(module).items()}
    return save(values, dict(metadata) if metadata is not None else None)


def restore(flow: Flow, folder: RunFolder, *, mend: bool = False) -> None:
    """Load a run's trained weights into its flow.

    Args:
        flow: to load them into.
        folder: of the run, held by this process where it may ``mend``.
        mend: where the file of the end is missing or damaged, and what it was made of is there, make it
            again.

    Raises:
        RunError: there are none yet, or they are damaged, or belong to another flow.
    """
    weights = _weights(folder)
    while True:
        try:
            values = read_tensors(weights) if weights.is_file() else trained_tensors(weights)
            break
        except RunError as error:
            # A run at work deletes old checkpoints: there is a newer one then.
            before, weights = weights, _weights(folder)
            if weights != before:
                continue
            other = _made_of(folder) if weights == folder.weights else None
            if other is None:
                raise
            if not mend:
                again = f"flowloom run {folder.path} makes it again from {other}"
                raise RunError(f"{error}; {again}") from error
            print(f"warning: {error}; it is made again from {other}", file=sys.stderr)
            weights = other
            values = read_tensors(other) if other.is_file() else trained_tensors(other)
            break
    load_tensors(flow, values, weights)
    if mend and weights == _made_of(folder):
        write_bytes(folder.weights, weights_of(flow))


def _weights(folder: RunFolder) -> Path:
    """What holds the weights that count: the file of the end or of the best, or the last checkpoint."""
    kept = folder.kept_weights()
    if kept is not None:
        return kept
    saved = checkpoints(folder.checkpoints)
    if not saved:
        raise RunError(f"{folder.path} has no weights yet; continue it with: {folder.going_on()}")
    return saved[-1]


def _made_of(folder: RunFolder) -> Path | None:
    """What the file of the end was written from: the best weights, or the checkpoint of the last step."""
    if folder.best.is_file():
        return folder.best
    saved = checkpoints(folder.checkpoints)
    last = f"step-{folder.status()['step']:08d}"
    return saved[-1] if saved and saved[-1].name == last else None
