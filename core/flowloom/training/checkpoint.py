"""Checkpoints: a folder of safetensors and one JSON, written atomically."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from flowloom.errors import RunError
from flowloom.parts import load_tensors, require_same, tensors
from flowloom.training.loop import Trainer

FORMAT = 2


def save_checkpoint(trainer: Trainer, folder: Path) -> Path:
    """Write the trainer's state to ``folder/step-NNNNNNNN``; a crash leaves no half-written checkpoint.

    Raises:
        RunError: no space, or no permission; older checkpoints are untouched.
    """
    target = folder / f"step-{trainer.step:08d}"
    partial = folder / f".partial-{os.getpid()}-{target.name}"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        _write(partial / "flow.safetensors", tensors(trainer.flow))
        _write(partial / "optimizers.safetensors", _optimizer_tensors(trainer))
        _write(partial / "feed.safetensors", trainer.feed.tensors())
        if trainer.ema is not None:
            _write(partial / "ema.safetensors", trainer.ema.state_dict())
        state = {"format": FORMAT, "step": trainer.step, "seed": trainer.seed}
        with open(partial / "state.json", "w") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.rmtree(target)
        os.replace(partial, target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(f"cannot write checkpoint {target}: {error.strerror or error}") from error
    return target


def load_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Restore a trainer from one checkpoint folder.

    Raises:
        RunError: the folder is not a checkpoint, is damaged, or belongs to another model; the message
            names the tensor.
    """
    state = read_state(folder)
    load_tensors(trainer.flow, read_tensors(folder / "flow.safetensors"), folder)
    if trainer.ema is not None:
        if not (folder / "ema.safetensors").exists():
            raise RunError(f"{folder} has no averaged weights, but the recipe sets train.ema")
        averages = read_tensors(folder / "ema.safetensors")
        require_same(trainer.ema.state_dict(), averages, folder, "averaged weights")
        trainer.ema.load_state_dict(averages)
    _load_optimizers(trainer, read_tensors(folder / "optimizers.safetensors"), folder)
    trainer.feed.restore(read_tensors(folder / "feed.safetensors"))
    trainer.step = int(state["step"])


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in ``folder``, oldest first."""
    return sorted(p for p in folder.glob("step-*") if (p / "state.json").is_file())


def prune(folder: Path, keep: int) -> None:
    """Delete all but the latest ``keep`` checkpoints, and what crashed writes left."""
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    for partial in folder.glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


def read_state(folder: Path) -> dict[str, Any]:
    """The JSON of a checkpoint."""
    try:
        state = json.loads((folder / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} is not a complete checkpoint: {error}") from error
    if not isinstance(state, dict):
        raise RunError(f"{folder} is not a checkpoint: state.json holds a {type(state).__name__}")
    if state.get("format") != FORMAT:
        raise RunError(
            f"{folder} has checkpoint format {state.get('format')!r}, and this version of flowloom reads "
            f"{FORMAT}; train it anew in another folder"
        )
    if not isinstance(state.get("step"), int) or state["step"] < 0:
        raise RunError(f"{folder} is damaged: its step is {state.get('step')!r}, not a number of steps")
    return state


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    try:
        return load_file(file)
    except FileNotFoundError as error:
        raise RunError(f"checkpoint file {file} is missing") from error
    except (OSError, SafetensorError) as error:
        raise RunError(f"checkpoint file {file} is damaged: {error}") from error


def _write(file: Path, values: Mapping[str, Tensor]) -> None:
    # Cloned, because safetensors refuses tensors that share memory.
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in values.items()}, file)


def _optimizer_tensors(trainer: Trainer) -> dict[str, Tensor]:
    return {f"{p.turn.name}/{key}": value for p in trainer.players for key, value in p.state().items()}


def _load_optimizers(trainer: Trainer, values: Mapping[str, Tensor], origin: Path) -> None:
    by_turn: dict[str, dict[str, Tensor]] = {player.turn.name: {} for player in trainer.players}
    for key, value in values.items():
        turn, _, rest = key.rpartition("/")
        if turn not in by_turn:
            raise RunError(f"{origin} does not fit the objective: it has a turn '{turn}', which is not there")
        by_turn[turn][rest] = value
    for player in trainer.players:
        player.restore(by_turn[player.turn.name], origin)
