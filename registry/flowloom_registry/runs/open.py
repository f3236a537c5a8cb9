"""Opening a run: its recipe built, its weights loaded, on a device that is there."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import torch

from flowloom.errors import FlowloomError, RunError
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.taken import USED, taken_in
from flowloom_registry.runs.assembly import Assembly, assemble
from flowloom_registry.runs.folder import RunFolder, read_text
from flowloom_registry.runs.identity import NOT_PARTS, asked_again, changed, decoding
from flowloom_registry.runs.remembered import standing_in
from flowloom_registry.runs.same_data import require_same_data
from flowloom_registry.runs.weights import restore


def pick_device(name: str | None) -> torch.device:
    """The device of that name; the best one present where none is given.

    Raises:
        FlowloomError: there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise FlowloomError(f"there is no device {name!r}; write cpu, cuda, cuda:1, mps ...") from error
    try:
        torch.zeros(1, device=device).item()  # some kinds hold shapes alone
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise FlowloomError(f"device {name!r} cannot be used here ({first}); try --device cpu") from error
    return device


def open_run(
    path: Path,
    *,
    trust: bool = False,
    layers: Sequence[str] = (),
    overrides: Sequence[str] = (),
    judged: bool = False,
) -> tuple[Assembly, RunFolder]:
    """Build the recipe of a run and load its weights; its data need not be at hand unless rows are asked for.

    Args:
        path: the run folder.
        trust: follow components that no installed plugin lists (``./file.py:Class``). They run code, so a
            folder from somebody else should not be trusted with it.
        layers: recipes, or parts of one, laid over the run's recipe; of what is asked of its weights.
        overrides: ``a.b=value`` texts over that, of the same.
        judged: whether it will be judged anew. Where not, judges and trackers are left out whose packages are
            not installed.

    Raises:
        RunError: the folder is not a run, its files do not fit together, or what is laid over it changes what
            was trained.
        ConfigError: its recipe cannot be built here (a missing plugin, say).
    """
    folder = RunFolder(path)
    folder.status()
    if not folder.recipe.is_file():
        raise RunError(f"{path} is a half-written run: it has no recipe.yaml")
    recipe = load_recipe(
        str(folder.recipe), trusted=trust, trusts_runs=trust, layers=layers, overrides=overrides
    )
    assembly = assemble(recipe, data=standing_in(folder), sparing=not judged)
    moved = _moved(assembly, overrides)
    if layers or overrides:
        now = assembly.built.resolved(path, _own(assembly, path))
        other = changed(read_text(folder.recipe), now, assembly, moved, trained=True)
        if other is not None:
            free = ", ".join(sorted({*asked_again(assembly, trained=True), *decoding(assembly)} - NOT_PARTS))
            raise RunError(
                f"{_asked_by(layers, overrides)} changes what {path} was trained by ({other}); "
                f"what can be asked again: {free}"
            )
    assembly.keep_data_in(folder.made)
    # What lies elsewhere by now is compared row by row, which says more than its name did.
    require_same_data(folder.data, assembly.spec, assembly.data if moved else None)
    restore(assembly.flow, folder)
    assembly.flow.eval()
    return assembly, folder


def _own(assembly: Assembly, path: Path) -> dict[str, str]:
    """The runs that lie in this one, by identity, as its recipe names them; others go by their folders."""
    home = (path / USED).resolve()
    runs = {one.folder.resolve() for one in taken_in(assembly.built.plan.sections) if one.folder is not None}
    return {str(folder): f"{USED}/{folder.name}" for folder in runs if folder.parent == home}


def _moved(assembly: Assembly, overrides: Sequence[str]) -> set[str]:
    """Files and folders of the data that are said anew: the argument that holds one, by its place."""
    data, said = assembly.built.get("data"), {text.partition("=")[0].strip() for text in overrides}
    if data is None:
        return set()
    parameters = inspect.signature(type(data)).parameters
    return {
        f"data.{name}"
        for name, one in parameters.items()
        if f"data.{name}" in said and "Path" in str(one.annotation)
    }


def _asked_by(layers: Sequence[str], overrides: Sequence[str]) -> str:
    """The options that laid something over a run's recipe."""
    return " or ".join(word for word, given in (("--with", layers), ("--set", overrides)) if given)
