"""Checkpoints: a folder of safetensors and one JSON, written atomically.

Of several processes the first one writes plain files, or all of them write shares
(`train.parallel.checkpoints`). What a process has otherwise than the first one (a queue of its own rows) lies
in ``own/``, and is its own again where as many go on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flowloom.errors import FlowloomError, RunError
from flowloom.parts import load_tensors, require_same, tensors
from flowloom.training import sharded
from flowloom.training.loop import Trainer
from flowloom.training.parallel.apart import apart
from flowloom.training.parallel.world import in_shares

__all__ = [
    "checkpoints",
    "load_checkpoint",
    "prune",
    "read_state",
    "read_tensors",
    "save_checkpoint",
    "trained_tensors",
]

FORMAT = 2
_NAME = re.compile(r"step-\d+")


def save_checkpoint(trainer: Trainer, folder: Path) -> Path:
    """Write the trainer's state to ``folder/step-NNNNNNNN``; a crash leaves no half-written checkpoint.

    Raises:
        RunError: no space, or no permission; older checkpoints are untouched.
    """
    target = folder / f"step-{trainer.step:08d}"
    # All processes may write into it, so its name is nobody's own.
    partial = folder / f".partial-{target.name}"
    world, parts = trainer.world, _state(trainer)
    own = apart(_of_each(trainer), world)
    try:
        with world.together(), _telling(target):
            if world.first:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
        if trainer.shares_checkpoints:
            named = {f"{part}/{k}": v for part, values in parts.items() for k, v in values.items()}
            # What all have is written by any of them, so whoever has it otherwise keeps out of that.
            sharded.write({name: v for name, v in named.items() if name not in own}, partial)
        with world.together(), _telling(target):
            if world.first and not trainer.shares_checkpoints:
                for part, values in parts.items():
                    _write(partial / f"{part}.safetensors", values)
            if own:
                _own(partial, world.rank).parent.mkdir(exist_ok=True)
                _write(_own(partial, world.rank), own)
        with world.together(), _telling(target):
            if world.first:
                _complete(trainer, target, partial)
    except FlowloomError:
        if world.first:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def _state(trainer: Trainer) -> dict[str, Mapping[str, Tensor]]:
    """Everything that a checkpoint holds, in its parts."""
    found = {
        "flow": tensors(trainer.flow),
        "optimizers": _optimizer_tensors(trainer),
        "feed": trainer.feed.tensors(),
    }
    return found if trainer.ema is None else {**found, "ema": trainer.ema.state_dict()}


def _of_each(trainer: Trainer) -> dict[str, Tensor]:
    """What changes beside gradients, which alone are made alike: it may be another in each process."""
    buffers = {k: v for k, v in tensors(trainer.flow).items() if not isinstance(v, nn.Parameter)}
    return {f"flow/{k}": v for k, v in buffers.items()} | {
        f"feed/{k}": v for k, v in trainer.feed.tensors().items()
    }


def _own(folder: Path, rank: int) -> Path:
    """Where a process keeps what it has otherwise than the first one."""
    return folder / "own" / f"{rank:05d}.safetensors"


@contextmanager
def _telling(target: Path) -> Iterator[None]:
    """Say in one line what could not be written."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"cannot write checkpoint {target}: {getattr(error, 'strerror', None) or error}"
        ) from error


def _complete(trainer: Trainer, target: Path, partial: Path) -> None:
    """Make a checkpoint of a folder that holds all of its tensors."""
    state = {
        "format": FORMAT,
        "step": trainer.step,
        "seed": trainer.seed,
        "processes": trainer.world.size,
        "sharded": trainer.shares_checkpoints,
        "sha256": _digests(partial),
    }
    with open(partial / "state.json", "w", encoding="utf-8") as file:
        json.dump(state, file)
    for written in partial.rglob("*"):
        _to_disk(written)
    _to_disk(partial)
    if target.exists():
        _remove(target)
    os.replace(partial, target)
    _to_disk(target.parent)


def load_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Restore a trainer from one checkpoint folder.

    Raises:
        RunError: the folder is not a checkpoint, is damaged, or belongs to another model; the message
            names the tensor.
    """
    state = read_state(folder)
    _require_whole(folder, state, trainer.seed)
    shares, processes = bool(state.get("sharded")), state.get("processes", 1)
    if not shares and processes != trainer.world.size:
        raise RunError(
            f"{folder} does not fit: it is a plain checkpoint of {_count(processes)}, and there are now "
            f"{trainer.world.size}; go on with {processes}, or write what any number reads from the start "
            "(train.parallel: {checkpoints: sharded})"
        )
    if trainer.engine.shards and not shares:
        raise RunError(f"{folder} does not fit train.parallel.engine fsdp: it is a plain checkpoint")
    parts = _read_shares(trainer, folder) if shares else _read_plain(folder)
    own = _own(folder, trainer.world.rank)
    if processes == trainer.world.size and own.is_file():
        for name, value in read_tensors(own).items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
    load_tensors(trainer.flow, parts["flow"], folder)
    if trainer.ema is not None:
        averages = parts.get("ema")
        if averages is None:
            raise RunError(f"{folder} has no averaged weights, but the recipe sets train.ema")
        require_same(trainer.ema.state_dict(), averages, folder, "averaged weights")
        trainer.ema.load_state_dict(averages)
    _load_optimizers(trainer, parts["optimizers"], folder)
    trainer.feed.restore(parts["feed"])
    trainer.step = int(state["step"])


def _count(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"


def trained_tensors(folder: Path) -> dict[str, Tensor]:
    """A flow's weights from a checkpoint of either form, whole: averaged where there are averages.

    Raises:
        RunError: the folder is not a checkpoint, or is damaged.
    """
    if read_state(folder).get("sharded"):
        return sharded.read_all(folder, "flow/") | sharded.read_all(folder, "ema/")
    values = read_tensors(folder / "flow.safetensors")
    averaged = folder / "ema.safetensors"
    # Averages cover what is trained; everything else comes from the plain file beside them.
    return values | read_tensors(averaged) if averaged.is_file() else values


def _read_plain(folder: Path) -> dict[str, dict[str, Tensor]]:
    parts = ("flow", "optimizers", "feed", "ema")
    there = (name for name in parts if name != "ema" or (folder / "ema.safetensors").exists())
    return {name: read_tensors(folder / f"{name}.safetensors") for name in there}


def _read_shares(trainer: Trainer, folder: Path) -> dict[str, dict[str, Tensor]]:
    """The parts of a sharded checkpoint, each tensor in shares where the trainer's own is."""
    own: dict[str, Tensor] = {f"flow/{k}": v for k, v in tensors(trainer.flow).items()}
    if trainer.ema is not None:
        own |= {f"ema/{k}": v for k, v in trainer.ema.state_dict().items()}
    for player in trainer.players:
        own |= {f"optimizers/{player.turn.name}/{k}": v for k, v in player.owners().items()}
    parts: dict[str, dict[str, Tensor]] = {"flow": {}, "optimizers": {}, "feed": {}}
    filled: dict[str, Tensor] = {}
    for name, (size, dtype) in sharded.sizes(folder).items():
        # Moments are named by the parameter that they belong to: ``turn/0.3.exp_avg``.
        like = own.get(name, own.get(name.rpartition(".")[0]))
        if like is not None and in_shares(like) and like.shape == size:
            filled[name] = torch.empty_like(like.detach(), dtype=dtype)
        else:
            filled[name] = torch.empty(size, dtype=dtype)
    sharded.read_into(filled, folder, together=True)
    for name, value in filled.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = value
    return parts


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
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.safetensors"))
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
    leaving = folder.with_name(f".partial-old-{folder.name}")
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
