"""From a recipe to a finished run."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from flowloom.errors import RunError
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.runs.environment import describe
from flowloom_registry.runs.evaluate import Evaluation, evaluate
from flowloom_registry.runs.experiment import Experiment, assemble
from flowloom_registry.runs.folder import RunFolder, read_json, read_text, write_text
from flowloom_registry.runs.hooks import notify
from flowloom_registry.runs.open import restore
from flowloom_registry.runs.report import write_report
from flowloom_registry.runs.same_data import require_same_data, spec_as_json
from flowloom_registry.runs.samples import draw_for_report
from flowloom_registry.runs.train import train
from flowloom_registry.runs.validation import read_best, require_scores, validated


def carry_out(recipe: Recipe, out: Path, device: torch.device) -> tuple[RunFolder, Evaluation | None]:
    """Train, sample, evaluate and report; a run that was begun in ``out`` goes on where it stopped.

    Raises:
        RunError: ``out`` holds something else, or a run of another recipe.
        ConfigError: the recipe has problems.
    """
    folder = RunFolder(out)
    folder.exists()
    experiment = assemble(recipe)
    # Missing or damaged files are told before anything is written.
    if experiment.data is not None:
        experiment.data.take(torch.arange(1))
    require_scores(experiment)
    resolved = experiment.built.resolved(out)
    environment = describe(device, recipe.catalog)
    with folder.locked():
        # Another process may have begun a run here in the meantime.
        begun = folder.exists()
        if begun:
            _require_same(folder, resolved)
            require_same_data(folder.data, experiment.spec)
        else:
            folder.begin(resolved, environment, spec_as_json(experiment.spec))
        experiment.flow.to(device)
        for tracker in experiment.trackers:
            tracker.start(folder.path, resolved)
        if not begun or folder.status()["state"] in ("training", "failed"):
            train(experiment, folder, device)
        else:
            restore(experiment, folder)
        result = judge_and_report(experiment, folder)
        folder.set_status("finished", folder.status()["step"])
        notify(recipe.catalog, "flowloom_finished", run=folder)
        for tracker in experiment.trackers:
            tracker.finish(result.by_column() if result is not None else {})
    return folder, result


def judge_and_report(experiment: Experiment, folder: RunFolder) -> Evaluation | None:
    """Sample, evaluate and write the report of a trained experiment."""
    catalog = experiment.built.recipe.catalog
    experiment.flow.eval()
    figures = draw_for_report(experiment, folder.samples)
    notify(catalog, "flowloom_sampled", run=folder, samples=folder.samples)
    result = evaluate(experiment) if experiment.metrics or experiment.scores else None
    best = read_best(folder)
    if result is not None and best is not None:
        result.notes.append(
            f"the weights are those of step {best.step}, which did best on the {experiment.validate.split} split"
        )
    if result is not None:
        write_text(folder.evaluation, json.dumps(result.as_json(), indent=2) + "\n")
        notify(catalog, "flowloom_evaluated", run=folder, results=result.by_column())
    recipe = experiment.built.recipe
    write_report(
        folder,
        title=recipe.name,
        summary=recipe.summary,
        paper=recipe.paper,
        environment=read_json(folder.environment),
        evaluation=result,
        figures=figures,
        validated=validated(experiment),
    )
    return result


def _require_same(folder: RunFolder, resolved: str) -> None:
    if not folder.recipe.is_file():
        raise RunError(f"{folder.path} is a half-written run: it has no recipe.yaml; choose another --out")
    before, now = _lines(read_text(folder.recipe)), _lines(resolved)
    if before != now:
        changed = next(
            (f"{a.strip()} -> {b.strip()}" for a, b in zip(before, now, strict=False) if a != b), ""
        )
        raise RunError(
            f"{folder.path} holds a run of another recipe ({changed or 'other sections'}); "
            "choose another folder with --out"
        )


def _lines(resolved: str) -> list[str]:
    # Versions may move between two sessions of one run.
    return resolved.split("\nversions:")[0].splitlines()
