"""Training inside a run folder: metrics, checkpoints, and going on where it stopped."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import torch
from safetensors.torch import save

from flowloom.errors import ProcessLostError, RunError, TrainingError
from flowloom.parts import load_tensors
from flowloom.trackers import Tracker
from flowloom.training import Trainer, load_checkpoint, save_checkpoint
from flowloom.training.checkpoint import checkpoints, prune, read_tensors
from flowloom.training.parallel import noticing_loss
from flowloom_registry.errors import one_line
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.facts import parts_of_loss, trained_seconds
from flowloom_registry.runs.folder import RunFolder, write_bytes
from flowloom_registry.runs.hooks import notify
from flowloom_registry.runs.progress import Report, progress
from flowloom_registry.runs.validation import Validation
from flowloom_registry.runs.weights import weights_of

_ONE_CTRL_C = 1.0
"""Seconds."""


def train(
    assembly: Assembly, folder: RunFolder, device: torch.device, fitted: list[str] | None = None
) -> list[str]:
    """Train to the last step, from the latest checkpoint where there is one.

    On Ctrl-C or SIGTERM a checkpoint is written first. Averaged weights, where there are, end up in the
    assembly's model and in ``flow.safetensors``: the last ones, or, where the recipe validates, those
    that did best on held-out data.

    Args:
        assembly: what is trained.
        folder: of the run.
        device: where.
        fitted: names of the parts that were fitted already; they are fitted here where None.

    Returns:
        A line for everything beside training that failed.

    Raises:
        TrainingError: a loss that is not finite; the last checkpoint is kept and named.
        RunError: the folder cannot be written, or its checkpoint belongs to another recipe.
    """
    flow, config = assembly.flow, assembly.train
    flow.to(device)
    begun = bool(checkpoints(folder.checkpoints))
    # What was fitted is in the checkpoints; sizes that fitting decides are taken from there.
    if fitted is None:
        fitted = [] if begun else assembly.fit_parts()
    failed: dict[int, str] = {}
    trainer = flow.trainer(assembly.feed, config, seed=assembly.seed, device=device)
    world = trainer.world
    if begun:
        _restore(trainer, folder)
    elif fitted:
        save_checkpoint(trainer, folder.checkpoints)
    with world.together():
        if world.first:
            folder.trim_metrics(trainer.step)
    validation = Validation(assembly, folder, trainer) if assembly.validate.score is not None else None
    try:
        with world.together():
            if world.first:
                folder.set_status("training", trainer.step)
                notify(assembly.built.recipe.catalog, "flowloom_run_started", run=folder)
        stage = assembly.built.recipe.stage
        what = "training" if stage is None else f"{stage}: training"
        # Looks and checkpoints gather what lies in shares.
        with (
            noticing_loss(),
            _stopping_on_signals(trainer),
            progress(what, config.steps, trainer.step) as report,
        ):
            _loop(assembly, folder, trainer, validation, report, failed)
            stopping = trainer.agree_to_stop()
        if stopping:
            raise KeyboardInterrupt
    except (TrainingError, ProcessLostError) as error:
        last = checkpoints(folder.checkpoints)
        kept = f"the last good checkpoint is {last[-1]}" if last else "no checkpoint was written yet"
        if world.first:
            folder.set_status("failed", trainer.step, str(error))
        raise type(error)(f"{error}; {kept}") from error
    finally:
        trainer.close()
    if trainer.ema is not None:
        trainer.ema.copy_to_live()
    flow.eval()
    trained = weights_of(flow)
    with world.together():
        if validation is not None and validation.kept is not None and world.first:
            best = read_tensors(folder.best)
            trained = save(best)
            if not trainer.engine.shards:
                load_tensors(flow, best, folder.best)
        if world.first:
            folder.require_here()
            write_bytes(folder.weights, trained)
            folder.set_status("trained", trainer.step)
    return list(failed.values())


def _loop(
    assembly: Assembly,
    folder: RunFolder,
    trainer: Trainer,
    validation: Validation | None,
    report: Report,
    failed: dict[int, str],
) -> None:
    config, world = assembly.train, trainer.world
    before, began = trained_seconds(folder), time.perf_counter()
    looked: dict[str, float] = {}
    if validation is not None and validation.due(trainer.step) and not validation.history:
        # Weights of another run, or a source that is close already, may be the best there will be.
        looked = validation.look()
        folder.append_metrics({"step": trainer.step, **looked})
    over = validation is not None and validation.exhausted()
    while trainer.step < config.steps and not over:
        # Checkpoints and looks fall on the same steps whether or not the run was interrupted.
        until = min(config.steps, (trainer.step // config.checkpoint_every + 1) * config.checkpoint_every)
        if validation is not None:
            until = min(until, validation.next_due(trainer.step))
        for metrics in trainer.run(until):
            step = int(metrics["step"])
            if validation is not None and validation.due(step):
                looked = validation.look()
                metrics = {**metrics, **looked}
            if step % config.log_every and step != until:
                continue  # a signal came between two lines: the run that goes on logs the next
            metrics = {**metrics, "seconds": round(before + time.perf_counter() - began, 3)}
            with world.together():
                if world.first:
                    _tell(assembly, folder, metrics, failed)
            speed = metrics["examples_per_second"]
            report(step, {**parts_of_loss(metrics), **looked, "examples/s": speed})
        over = validation is not None and validation.exhausted()
        between = trainer.step % config.checkpoint_every and trainer.step < config.steps
        if between and not (over or trainer.stopping):
            continue
        with world.together():
            if world.first:
                folder.require_here()
        save_checkpoint(trainer, folder.checkpoints)
        with world.together():
            if world.first:
                prune(folder.checkpoints, config.keep_checkpoints)
                folder.set_status("training", trainer.step)
        if trainer.stopping:
            return


def _tell(
    assembly: Assembly, folder: RunFolder, metrics: Mapping[str, float], failed: dict[int, str]
) -> None:
    """Write a line down, and tell trackers and plugins."""
    step = int(metrics["step"])
    folder.append_metrics(metrics)
    for i, tracker in enumerate(assembly.trackers):
        if i not in failed:
            _log(tracker, step, dict(metrics), i, failed)
    notify(assembly.built.recipe.catalog, "flowloom_step", run=folder, step=step, metrics=dict(metrics))


def _log(tracker: Tracker, step: int, metrics: Mapping[str, float], i: int, failed: dict[int, str]) -> None:
    """Tell a tracker; one that fails is told once and not asked again."""
    try:
        tracker.log(step, metrics)
    except Exception as error:  # whatever it raises, training is worth more
        failed[i] = f"tracker {type(tracker).__name__} failed at step {step}: {one_line(error)}"
        print(f"warning: {failed[i]}", file=sys.stderr)


def _restore(trainer: Trainer, folder: RunFolder) -> None:
    """Load the latest checkpoint that is whole; one that is damaged is passed over for the one before."""
    error: RunError | None = None
    for candidate in reversed(checkpoints(folder.checkpoints)):
        try:
            load_checkpoint(trainer, candidate)
            return
        except RunError as problem:
            if "does not fit" in str(problem):
                raise
            error = error or problem
    if error is not None:
        raise error


@contextmanager
def _stopping_on_signals(trainer: Trainer) -> Iterator[None]:
    """Ctrl-C and SIGTERM end training between two steps; a second signal ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    asked = 0.0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        # A terminal and a launcher both pass on one Ctrl-C.
        alone = trainer.world.size == 1
        if trainer.asked_to_stop and (alone or time.monotonic() - asked > _ONE_CTRL_C):
            raise KeyboardInterrupt
        asked = time.monotonic()
        trainer.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
