"""From a recipe to a finished run."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from flowloom.data import Dataset
from flowloom.data.looked_at import require_rows
from flowloom.errors import DataError, IncompatibleError, OffManifoldError, RunError
from flowloom.spec import Spec
from flowloom.training.ema import require_averages
from flowloom.training.parallel import World, in_shares, require_parallel
from flowloom.training.players import players_of
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.taken import USED
from flowloom_registry.errors import ConfigError
from flowloom_registry.runs.assembly import Assembly, assemble
from flowloom_registry.runs.environment import describe, other_threads
from flowloom_registry.runs.evaluate import evaluate
from flowloom_registry.runs.evaluation import Evaluation
from flowloom_registry.runs.facts import meanings, trained_parameters, trained_seconds
from flowloom_registry.runs.folder import RunFolder, read_text, write_text
from flowloom_registry.runs.hooks import notify, track
from flowloom_registry.runs.identity import changed
from flowloom_registry.runs.notes import Notes
from flowloom_registry.runs.rehearse import rehearse
from flowloom_registry.runs.report import write_report
from flowloom_registry.runs.same_data import data_as_json, require_same_data
from flowloom_registry.runs.samples import draw_for_report, save_answers
from flowloom_registry.runs.train import train
from flowloom_registry.runs.used import require_same_used
from flowloom_registry.runs.validation import read_best, require_scores
from flowloom_registry.runs.weights import restore
from flowloom_registry.runs.words import opening, say
from flowloom_registry.runs.written import written


def carry_out(
    recipe: Recipe, out: Path, device: torch.device, command: str = ""
) -> tuple[RunFolder, Evaluation | None]:
    """Rehearse, train, sample, evaluate and report; a run that was begun in ``out`` goes on where it stopped.

    A recipe that differs from the run's only in what is asked of trained weights (solver, guidance, metrics,
    evaluation) uses the run as it is.

    Args:
        recipe: what to carry out.
        out: the run folder.
        device: where.
        command: by which it was asked for, which the report shows; empty where it was no command.

    Raises:
        RunError: ``out`` holds something else, or a run of another recipe; or what comes after training
            would fail.
        ConfigError: the recipe has problems.
    """
    world, folder = World.now(), RunFolder(out)
    with world.together():
        begun = folder.exists()
        assembly = assemble(recipe)
        assembly.to(device)
        if begun:
            assembly.keep_data_in(folder.made)
        # Missing or damaged files are told before anything is written.
        if assembly.data is not None:
            assembly.data.take(torch.arange(1))
        require_scores(assembly)
        _require_something_to_train(assembly)
        resolved = assembly.built.resolved(out)
        goes_on = begun and not _mendable(folder, resolved, assembly)
        if goes_on and not torch.distributed.is_initialized():
            # What several began is gone on with by one as well; whether it can is told by its checkpoint.
            assembly.train = replace(assembly.train, parallel=assembly.train.parallel.alone())
        rows = None if assembly.data is None else len(assembly.data)
        require_parallel(assembly.train, world, rows, looks=assembly.validate.score is not None)
        environment = describe(device, recipe.catalog, command=command)
        environment["processes"] = world.size
        fitted: list[str] | None = None
        if goes_on:
            _require_same(folder, resolved, assembly)
        elif assembly.train.steps:
            fitted = assembly.fit_parts()
            if not assembly.flow.trainable():
                raise IncompatibleError(
                    "train.steps: this recipe has no parameters to train; write train: {steps: 0}"
                )
            require_averages(assembly.flow, assembly.train.ema)
            turns = assembly.flow.objective.turns(assembly.flow)
            players_of(turns, assembly.flow.trainable(), assembly.train, device)
            if world.first:
                _require_rows(assembly)
                rehearse(assembly)
        environment["parameters"] = size = trained_parameters(assembly.flow)
    notes = Notes()
    result: Evaluation | None = None
    # Of several processes the first one writes, and the others train with it.
    with ExitStack() as held:
        trains = False
        with world.together():
            if world.first:
                held.enter_context(folder.locked())
                begun = _begin(assembly, folder, resolved, environment, written(recipe))
                say(opening(assembly, out, environment, size, begun=begun))
                track(assembly.trackers, lambda tracker: tracker.start(folder.path, resolved))
                trains = not begun or folder.status()["state"] in ("training", "failed")
                if trains:
                    stage = recipe.stage
                    assembly.make_data("" if stage is None else f"{stage}: ")
        if world.any(trains):
            assembly.keep_data_in(folder.made)
            notes.lines += train(assembly, folder, device, fitted)
            if _in_shares(assembly):
                assembly = assemble(recipe)
                assembly.to(device)
                assembly.keep_data_in(folder.made)
                trains = False
        with world.together():
            if world.first:
                if not trains:
                    restore(assembly.flow, folder, mend=True)
                result = judge_and_report(assembly, folder, notes)
                folder.set_status("finished", folder.status()["step"])
                notify(recipe.catalog, "flowloom_finished", run=folder)
                results = result.by_column() if result is not None else {}
                track(assembly.trackers, lambda tracker: tracker.finish(results))
    return folder, result


def judge_and_report(
    assembly: Assembly, folder: RunFolder, notes: Notes | None = None, *, again: bool = False
) -> Evaluation | None:
    """Sample, evaluate and write the report of what was trained.

    What fails is a note beside the other results, in the table, ``evaluation.json`` and the report.

    Args:
        assembly: trained.
        folder: of the results.
        notes: of what was left out so far.
        again: results that are there already are not given up for an evaluation that fails.

    Raises:
        RunError: it failed, and ``again``.
    """
    folder.require_here()
    notes = notes or Notes()
    catalog = assembly.built.recipe.catalog
    assembly.flow.eval()
    draw_for_report(assembly, folder.samples, notes)
    notify(catalog, "flowloom_sampled", run=folder, samples=folder.samples)
    result: Evaluation | None = None
    if assembly.judged:
        with notes.about("the evaluation"):
            result = evaluate(assembly, notes)
    if again and result is None and assembly.judged:
        raise RunError(f"{notes.lines[-1]}; results that were there are kept")
    best = read_best(folder)
    if result is not None and best is not None:
        notes.lines.append(
            f"the weights are those of step {best.step}, which did best on the "
            f"{assembly.validate.split} split"
        )
    if result is None and notes.lines:
        result = Evaluation(0, 0, {}, {}, notes=notes.lines)
    if result is not None and result.tasks:
        with notes.about("writing answers"):
            save_answers(result.tasks, folder.samples)
    if result is not None:
        facts = {"parameters": trained_parameters(assembly.flow), "train_seconds": trained_seconds(folder)}
        asked = [metric for task in assembly.tasks for metric in task.metrics]
        told = {"meaning": meanings([*assembly.metrics, *assembly.scores, *asked])}
        write_text(folder.evaluation, json.dumps(result.as_json() | facts | told, indent=2) + "\n")
        notify(catalog, "flowloom_evaluated", run=folder, results=result.by_column())
    with notes.about("the report"):
        write_report(folder)
    return result


def _begin(
    assembly: Assembly, folder: RunFolder, resolved: str, environment: dict[str, Any], text: str
) -> bool:
    """Begin a run in a folder that is held, or take up what was begun there; returns whether it was."""
    # Another process may have begun a run here in the meantime.
    begun = folder.exists()
    if begun and _mendable(folder, resolved, assembly):
        folder.clear()
        begun = False
    if begun:
        _require_same(folder, resolved, assembly)
        if difference := other_threads(folder.environment, environment):
            print(f"warning: {difference}", file=sys.stderr)
        status = folder.status()
        if status["state"] == "finished":  # until it is judged anew
            folder.set_status("trained", status["step"])
        folder.ask(resolved)
        return True
    used = assembly.runs.keep(assembly.built.plan, folder.path)
    environment |= {USED: used} if used else {}
    assembly.keep_data_in(folder.made)
    data = data_as_json(assembly.spec, assembly.data, _plain(assembly))
    folder.begin(resolved, environment, data, text)
    return False


def _in_shares(assembly: Assembly) -> bool:
    return any(in_shares(p) for p in assembly.flow.parameters())


def _mendable(folder: RunFolder, resolved: str, assembly: Assembly) -> bool:
    """Whether a run has not made a step, so that nothing is lost by beginning it anew with another recipe."""
    if not folder.untouched() or not folder.recipe.is_file():
        return False
    return changed(read_text(folder.recipe), resolved, assembly) is not None


def _require_same(folder: RunFolder, resolved: str, assembly: Assembly) -> None:
    if not folder.recipe.is_file():
        raise RunError(f"{folder.path} is a half-written run: it has no recipe.yaml; choose another --out")
    other = changed(read_text(folder.recipe), resolved, assembly)
    if other is not None:
        raise RunError(
            f"{folder.path} holds a run of another recipe ({other}); choose another folder with --out"
        )
    require_same_used(folder, assembly.built.plan, assembly.built.recipe)
    require_same_data(folder.data, assembly.spec, assembly.data)


def _require_something_to_train(assembly: Assembly) -> None:
    if assembly.train.steps and assembly.taken and not assembly.flow.trainable():
        names = ", ".join(sorted(assembly.taken))
        raise IncompatibleError(
            f"nothing is trained here: {names} of other runs are frozen, and there is nothing else; write "
            "'frozen: false' for what is to be trained on, or train: {steps: 0} for a run without training"
        )


def _require_rows(assembly: Assembly) -> None:
    """Look at the rows before anything is written, as training does again.

    Rows that are read from files one by one, or made in the run folder, are looked at there alone.

    Raises:
        ConfigError: a row cannot be learned; says where its data are named.
    """
    shown = assembly.feed.examples()
    made = [data for _, data in assembly.built.places.made(Dataset)]
    if shown is None or assembly.flow.objective.encodes or getattr(shown, "reads_files", False):
        return
    if any(type(data).keep_in is not Dataset.keep_in for data in made):
        return
    try:
        require_rows(shown, assembly.flow)
    except (DataError, OffManifoldError) as error:
        at = assembly.built.where(assembly.built.get("data"))
        if at is None:
            raise
        raise ConfigError([at.problem("data", str(error).removeprefix("data: "))]) from error


def _plain(assembly: Assembly) -> Spec | None:
    """The spec of the data before the views, where there are views."""
    return assembly.built["data"].spec if assembly.built.get("views") and assembly.data is not None else None
