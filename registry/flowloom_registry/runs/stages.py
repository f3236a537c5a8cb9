"""From a staged recipe to a finished run: one training after another, each in a folder of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from flowloom.errors import RunError
from flowloom_registry.config.check import check
from flowloom_registry.config.nodes import plain
from flowloom_registry.config.plan import RecipePlan
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.resolve import resolve
from flowloom_registry.config.stage import Stage
from flowloom_registry.config.stages import NAME, STAGES, staged, stages_of
from flowloom_registry.config.taken import taken_in
from flowloom_registry.config.yaml import read, write
from flowloom_registry.errors import ConfigError, Problem
from flowloom_registry.runs.assembly import Assembly, assemble
from flowloom_registry.runs.carry_out import carry_out
from flowloom_registry.runs.evaluation import Evaluation
from flowloom_registry.runs.folder import RunFolder, read_text, write_text
from flowloom_registry.runs.used import STAGES_FOLDER, require_same_used

_NOT_A_STAGES = (NAME, "versions")


def carry_out_stages(
    recipe: Recipe, out: Path, device: torch.device, command: str = ""
) -> tuple[RunFolder, Evaluation | None]:
    """Carry out every stage of a recipe in order; the recipe itself where it has none.

    The last stage's folder is ``out``, those before it are ``out/stages/NAME``. What can be told of all
    stages is told before the first one trains: they are checked, and built on one another untrained. Stages
    that are finished are passed over; one that was begun goes on where it stopped.

    Args:
        recipe: what to carry out.
        out: the run folder.
        device: where.
        command: see `carry_out`.

    Returns:
        Folder and evaluation of the last stage.

    Raises:
        RunError: ``out`` holds something else, or a stage of another recipe.
        ConfigError: a stage has problems.
        KeyboardInterrupt: says in which stage.
    """
    if not staged(recipe):
        return carry_out(recipe, out, device, command)
    home = RunFolder(out)
    home.exists()
    stages = [replace(one.stage, home=out) for one in stages_of(recipe) if one.stage is not None]
    recipes = [replace(one, stage=stage) for one, stage in zip(stages_of(recipe), stages, strict=True)]
    plans = _checked(recipes)
    texts = [_text(one, plan, out) for one, plan in zip(recipes, plans, strict=True)]
    before = _texts_before(home)
    folders = [_folder(stage, out) for stage in stages]
    if not all(folder.exists() for folder in folders):
        _untrained(recipes)
    folder, result = home, None
    for stage, one, plan, text, place in zip(stages, recipes, plans, texts, folders, strict=True):
        done = place.exists() and place.status()["state"] == "finished"
        if done and not stage.last and before.get(stage.name) == text:
            require_same_used(place, plan, one)
            print(f"{stage}: finished before ({place.path})", file=sys.stderr)
            continue
        print(f"{stage}: {place.path}", file=sys.stderr)
        if not home.stages.is_file():
            write_text(home.stages, _whole(recipe.name, texts))
        try:
            folder, result = carry_out(one, place.path, device, command)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(str(stage)) from None
    write_text(home.stages, _whole(recipe.name, texts))
    return folder, result


def _checked(recipes: list[Recipe]) -> list[RecipePlan]:
    """The plans of all stages.

    Raises:
        ConfigError: holds the problems of all of them.
    """
    plans: list[RecipePlan] = []
    problems: list[Problem] = []
    for one in recipes:
        try:
            plans.append(check(one, needs=("model",)))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return plans


def assemble_last(recipe: Recipe) -> Assembly:
    """A recipe built, its last stage on those before it, which are untrained: what it will have to say.

    Raises:
        ConfigError: a stage has problems.
    """
    return _untrained(stages_of(recipe)) if staged(recipe) else assemble(recipe)


def _untrained(recipes: Sequence[Recipe]) -> Assembly:
    """Build every stage on those before it, untrained: parts that clash are told now. Returns the last."""
    planned: dict[str, Assembly] = {}
    for one in recipes:
        assert one.stage is not None
        assembly = assemble(one, planned=planned)
        made = list(taken_in(assembly.built.plan.sections.get("data")))
        if assembly.data is not None and not made:
            assembly.data.take(torch.arange(1))
        planned[one.stage.name] = assembly
    return assembly


def _folder(stage: Stage, out: Path) -> RunFolder:
    return RunFolder(out if stage.last else out / STAGES_FOLDER / stage.name)


def _text(recipe: Recipe, plan: RecipePlan, out: Path) -> str:
    """A stage as `stages.yaml` keeps it."""
    assert recipe.stage is not None
    sections = plain(read(resolve(recipe, plan, out, apart=False), recipe.file).root)
    kept = {key: value for key, value in sections.items() if key not in _NOT_A_STAGES}
    return write({NAME: recipe.stage.name, **kept})


def _whole(name: str, texts: list[str]) -> str:
    """The recipe of all stages, which goes on with the run by itself."""
    return write({NAME: name, STAGES: [plain(read(text, STAGES).root) for text in texts]})


def _texts_before(home: RunFolder) -> dict[str, str]:
    """What the stages of a begun run were, by name.

    Raises:
        RunError: the file is damaged.
    """
    if not home.stages.is_file():
        return {}
    try:
        value = plain(read(read_text(home.stages), str(home.stages)).root)
        return {stage[NAME]: write(stage) for stage in value[STAGES]}
    except (ConfigError, KeyError, TypeError) as error:
        raise RunError(f"{home.stages} is damaged: {error}") from error
