"""Examples that a data set made once, in a file: written in one piece, and never unpickled."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from flowloom.data.base import Examples
from flowloom.data.records import examples_of, records
from flowloom.errors import RunError

__all__ = ["read_examples", "write_examples"]


def write_examples(file: Path, examples: Examples) -> None:
    """Write examples; whoever reads meanwhile sees the whole file or none.

    Raises:
        RunError: no permission, or no space.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    tensors = {k: v.contiguous().clone() for k, v in records(examples.x, "x", examples.cond).items()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial)
        os.replace(partial, file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"cannot write {file}: {error.strerror or error}") from error


def read_examples(file: Path) -> Examples:
    """What `write_examples` wrote.

    Raises:
        RunError: the file is damaged.
    """
    try:
        return examples_of(load_file(file), "x")
    except (OSError, SafetensorError) as error:
        raise RunError(f"{file} is damaged ({error}); delete it, and it is made again") from error
