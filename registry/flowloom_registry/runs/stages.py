"""From a staged recipe to a finished run: one training after another, each in a folder of its own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from flowloom.errors import RunError
from flowloom_registry.config.check import check
from flowloom_registry.config.nodes import plain
from flowloom_registry.config.plan import RecipePlan
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.resolve import resolve
from flowloom_registry.config.stage import STAGES, Stage
from flowloom_registry.config.stages import NAME, staged, stages_of
from flowloom_registry.config.taken import taken_in
from flowloom_registry.config.yaml import read, write
from flowloom_registry.errors import ConfigError, Problem
from flowloom_registry.runs.assembly import Assembly, assemble
from flowloom_registry.runs.carry_out import carry_out
from flowloom_registry.runs.evaluation import Evaluation
from flowloom_registry.runs.folder import RunFolder, read_text, write_text
from flowloom_registry.runs.identity import changed
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
    recipes = _at(recipe, out)
    stages = [one.stage for one in recipes if one.stage is not None]
    plans = _checked(recipes)
    texts = [_text(one, plan, out) for one, plan in zip(recipes, plans, strict=True)]
    before = _texts_before(home)
    folders = [_folder(stage, out) for stage in stages]
    if not all(folder.exists() for folder in folders):
        _look_ahead(recipes)
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


def assemble_stages(recipe: Recipe, out: Path) -> dict[str, Assembly]:
    """Every stage by name, built on those before it, untrained; the recipe itself where it has none.

    Raises:
        MisfitError: parts cannot work together.
    """
    return _look_ahead(_at(recipe, out)) if staged(recipe) else {recipe.name: assemble(recipe)}


def lend_stages(recipe: Recipe, out: Path, others: Iterable[Path]) -> list[str]:
    """Copy into a run that was not begun the first stages that another run finished by the same words.

    A stage is a function of its recipe, seed included, and of the stages before it; so what another run made
    of the same words is what this one would make.

    Args:
        recipe: with stages; nothing is lent where it has none.
        out: the run folder.
        others: run folders that may have them.

    Returns:
        Names of the stages that are there now.
    """
    if not staged(recipe) or out.exists():
        return []
    recipes = _at(recipe, out)
    texts = [_text(one, plan, out) for one, plan in zip(recipes, _checked(recipes), strict=True)]
    names = [one.stage.name for one in recipes if one.stage is not None and not one.stage.last]
    best: tuple[Path, int] | None = None
    for other in others:
        count = _shared(RunFolder(other), names, texts)
        if count > (best[1] if best else 0):
            best = (other, count)
    if best is None:
        return []
    lent = names[: best[1]]
    home = RunFolder(out)
    write_text(home.stages, _whole(recipe.name, texts))
    for name in lent:
        # Under a hidden name first: a copy that was cut off is no stage.
        place = out / STAGES_FOLDER / f".{name}.{os.getpid()}"
        shutil.copytree(best[0] / STAGES_FOLDER / name, place)
        os.replace(place, out / STAGES_FOLDER / name)
    return lent


def _shared(home: RunFolder, names: list[str], texts: list[str]) -> int:
    """How many of the first stages a run finished by these words."""
    folder = home.path / STAGES_FOLDER
    if not names or not (folder / names[0]).is_dir():
        return 0
    try:
        before = _texts_before(home)
        for count, (name, text) in enumerate(zip(names, texts, strict=False)):
            place = RunFolder(folder / name)
            if before.get(name) != text or not place.exists() or place.status()["state"] != "finished":
                return count
    except RunError:
        return 0  # what cannot be read is not lent
    return len(names)


def changed_stage(recipe: Recipe, out: Path) -> str | None:
    """The first value by which a stage was begun in ``out`` and is not any more: ``a.train.steps: 2 -> 3``;
    None where there is none, or nothing was begun.

    Args:
        recipe: with stages.
        out: the run folder.

    Raises:
        RunError: what the stages were cannot be read.
        ConfigError: a stage has problems.
    """
    before = _texts_before(RunFolder(out))
    if not before:
        return None
    recipes = _at(recipe, out)
    plans, built = _checked(recipes), _look_ahead(recipes)
    for one, plan in zip(recipes, plans, strict=True):
        name = one.stage.name if one.stage is not None else ""
        if name in before:
            found = changed(before[name], _text(one, plan, out), built[name])
            if found is not None:
                return f"{name}.{found}"
    return None


def _at(recipe: Recipe, out: Path) -> list[Recipe]:
    """The stages, each knowing in which folder they are."""
    found = []
    for one in stages_of(recipe):
        assert one.stage is not None
        found.append(replace(one, stage=replace(one.stage, home=out)))
    return found


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


def _look_ahead(recipes: list[Recipe]) -> dict[str, Assembly]:
    """Every stage built on those before it, untrained, so that parts that clash are told now."""
    planned: dict[str, Assembly] = {}
    for one in recipes:
        assert one.stage is not None
        assembly = assemble(one, planned=planned)
        made = list(taken_in(assembly.built.plan.sections.get("data")))
        if assembly.data is not None and not made:
            assembly.data.take(torch.arange(1))
        planned[one.stage.name] = assembly
    return planned


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
