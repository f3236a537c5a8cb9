"""Checkpoints: a folder of safetensors and one JSON, written atomically."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from flowloom.errors import RunError
from flowloom.training.loop import Trainer

FORMAT = 1


def save_checkpoint(trainer: Trainer, folder: Path) -> Path:
    """Write the trainer's state to ``folder/step-NNNNNNNN``; a crash leaves no half-written checkpoint.

    Raises:
        RunError: no space, or no permission; older checkpoints are untouched.
    """
    target = folder / f"step-{trainer.step:08d}"
    partial = folder / f".partial-{os.getpid()}-{target.name}"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        _write(partial / "model.safetensors", trainer.model.state_dict())
        _write(partial / "objective.safetensors", trainer.objective.state_dict())
        _write(partial / "optimizer.safetensors", _optimizer_tensors(trainer.optimizer))
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
    load_into(trainer.model, read_tensors(folder / "model.safetensors"), folder)
    load_into(trainer.objective, read_tensors(folder / "objective.safetensors"), folder)
    if trainer.ema is not None:
        if not (folder / "ema.safetensors").exists():
            raise RunError(f"{folder} has no averaged weights, but the recipe sets train.ema")
        averages = read_tensors(folder / "ema.safetensors")
        _require_same(trainer.ema.state_dict(), averages, folder, "the averaged weights")
        trainer.ema.load_state_dict(averages)
    _load_optimizer(trainer.optimizer, read_tensors(folder / "optimizer.safetensors"), folder)
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
        raise RunError(f"{folder} has checkpoint format {state.get('format')!r}; this version reads {FORMAT}")
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


def load_into(module: torch.nn.Module, tensors: dict[str, Tensor], origin: Path) -> None:
    """Load weights, naming the first tensor that does not fit."""
    _require_same(module.state_dict(), tensors, origin, type(module).__name__)
    module.load_state_dict(tensors)


def _require_same(own: dict[str, Tensor], tensors: dict[str, Tensor], origin: Path, what: str) -> None:
    missing, strangers = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or strangers:
        which = f"lacks {missing[0]}" if missing else f"has {strangers[0]}, which the model lacks"
        raise RunError(f"{origin} does not fit {what}: it {which}")
    for name, value in own.items():
        if value.shape != tensors[name].shape and value.numel() and value.ndim:
            raise RunError(
                f"{origin} does not fit {what}: {name} has shape "
                f"{tuple(tensors[name].shape)} there and {tuple(value.shape)} here"
            )


def _write(file: Path, tensors: dict[str, Tensor]) -> None:
    # Cloned, because safetensors refuses tensors that share memory (tied weights).
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, file)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, entry in state.items()
        for name, value in entry.items()
        if value is not None
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], origin: Path) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        known = index.isdecimal() and int(index) < len(parameters)
        # Moments have the shape of their parameter; counters have none.
        if not known or (value.ndim and value.shape != parameters[int(index)].shape):
            raise RunError(f"{origin} does not fit the optimiser: its state '{key}' belongs to another model")
        state.setdefault(int(index), {})[name] = value
    current = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})
