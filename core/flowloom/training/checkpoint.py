"""Checkpoints: a folder of safetensors and one JSON, written atomically."""

from __future__ import annotations

import hashlib
import json
import os
import re
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
_NAME = re.compile(r"step-\d+")


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
        state = {"format": FORMAT, "step": trainer.step, "seed": trainer.seed, "sha256": _digests(partial)}
        with open(partial / "state.json", "w", encoding="utf-8") as file:
            json.dump(state, file)
        for written in partial.iterdir():
            _to_disk(written)
        _to_disk(partial)
        if target.exists():
            _remove(target)
        os.replace(partial, target)
        _to_disk(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(
            f"cannot write checkpoint {target}: {getattr(error, 'strerror', None) or error}"
        ) from error
    return target


def load_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Restore a trainer from one checkpoint folder.

    Raises:
        RunError: the folder is not a checkpoint, is damaged, or belongs to another model; the message
            names the tensor.
    """
    state = read_state(folder)
    _require_whole(folder, state, trainer.seed)
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
    named = (p for p in folder.glob("step-*") if _NAME.fullmatch(p.name) and (p / "state.json").is_file())
    return sorted(named, key=lambda p: int(p.name.removeprefix("step-")))


def prune(folder: Path, keep: int) -> None:
    """Delete all but the latest ``keep`` checkpoints, and what crashed writes left."""
    complete = checkpoints(folder)
    for old in complete[:-keep]:
        _remove(old)
    for half in folder.glob("step-*"):  # one whose deletion was cut short
        if _NAME.fullmatch(half.name) and half not in complete:
            _remove(half)
    for partial in folder.glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


def read_state(folder: Path) -> dict[str, Any]:
    """The JSON of a checkpoint."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
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


def _require_whole(folder: Path, state: Mapping[str, Any], seed: int) -> None:
    """Compare a checkpoint with what it says of itself; safetensors has no checksums of its own."""
    if folder.name != f"step-{state['step']:08d}":
        raise RunError(f"{folder} is damaged: it says that it is of step {state['step']}")
    if state.get("seed") != seed:
        raise RunError(f"{folder} does not fit this run: its seed is {state.get('seed')!r}, not {seed}")
    told = state.get("sha256")
    found = _digests(folder)
    for name in sorted({*found, *(told if isinstance(told, dict) else ())}):
        if not isinstance(told, dict) or told.get(name) != found.get(name):
            raise RunError(f"checkpoint file {folder / name} is damaged: it is not what was written")


def _digests(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.glob("*.safetensors"))
    }


def _to_disk(path: Path) -> None:
    """Have the system write a file, or the names in a folder, before anything relies on it."""
    if path.is_dir() and os.name == "nt":
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    """Delete a checkpoint so that half of one is never taken for a whole one, or kept for ever."""
    leaving = folder.with_name(f".partial-{folder.name}")
    try:
        os.replace(folder, leaving)
    except OSError:
        leaving = folder
    shutil.rmtree(leaving, ignore_errors=True)


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
