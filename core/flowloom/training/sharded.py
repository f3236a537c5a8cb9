"""Checkpoints that all processes write at once, in shares, and that any number of them reads.

Their files are safetensors: torch.distributed.checkpoint keeps in the head of each which piece of which
tensor it holds. Nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from flowloom.errors import RunError
from flowloom.training.parallel.quiet import quiet

__all__ = ["PATTERN", "read_all", "read_into", "sizes", "write"]

PATTERN = "shard-*.safetensors"


def write(values: Mapping[str, Tensor], folder: Path) -> None:
    """Write this process's shares of ``values``; all processes do so together.

    Raises:
        RunError: one of them could not; the same one in all.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    named = {name: value.detach() for name, value in values.items()}
    try:
        with quiet():
            save(
                named,
                storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
                no_dist=not dist.is_initialized(),
            )
    except CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        told = next((getattr(c, "strerror", None) or str(c) for c in causes), str(error))
        raise RunError(f"cannot write checkpoint {folder}: {told}") from error


def sizes(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Whole shape and dtype of every tensor of a checkpoint.

    Raises:
        RunError: a shard is missing or damaged.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    try:
        found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except Exception as error:  # whatever a damaged head makes it say
        raise RunError(f"checkpoint {folder} is damaged: {error}") from error
    return {
        name: (one.size, one.properties.dtype)
        for name, one in found.items()
        if isinstance(one, TensorStorageMetadata)
    }


def read_into(values: Mapping[str, Tensor], folder: Path, *, together: bool) -> None:
    """Fill tensors, whole ones and those in shares, by their names.

    Args:
        values: what is filled, in place.
        folder: of the checkpoint.
        together: whether all processes do so at once.

    Raises:
        RunError: a shard is missing or damaged.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    try:
        with quiet():
            load(
                dict(values),
                storage_reader=HuggingFaceStorageReader(str(folder)),
                no_dist=not (together and dist.is_initialized()),
            )
    except (CheckpointException, OSError, ValueError, RuntimeError) as error:
        raise RunError(f"checkpoint {folder} is damaged: {str(error).splitlines()[0]}") from error


def read_all(folder: Path, prefix: str) -> dict[str, Tensor]:
    """All tensors of a checkpoint whose names begin with ``prefix``, whole, by the rest of their names.

    Raises:
        RunError: a shard is missing or damaged.
    """
    wanted = {k: torch.empty(s, dtype=d) for k, (s, d) in sizes(folder).items() if k.startswith(prefix)}
    read_into(wanted, folder, together=False)
    return {name.removeprefix(prefix): value for name, value in wanted.items()}
