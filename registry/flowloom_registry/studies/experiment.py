"""An experiment: all cells of a file carried out, and their results side by side."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flowloom.errors import FlowloomError, RunError
from flowloom_registry.config.check import check
from flowloom_registry.config.nodes import plain
from flowloom_registry.config.stages import stages_of
from flowloom_registry.errors import ConfigError, MisfitError, Problem
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.plugins.discovery import catalog as installed
from flowloom_registry.runs.open import pick_device
from flowloom_registry.runs.stages import assemble_stages
from flowloom_registry.studies.cells import Cell
from flowloom_registry.studies.design import Design, read_design
from flowloom_registry.studies.folder import FINISHED, UNDEFINED, State, StudyFolder
from flowloom_registry.studies.launchers import (
    Launcher,
    Launching,
    Processes,
    Source,
    carry_out_named,
)
from flowloom_registry.studies.progress import Progress
from flowloom_registry.studies.results import Results, read_results
from flowloom_registry.studies.values import OF_EVERY_RUN, values_of
from flowloom_registry.studies.work import difference, reason


class Experiment:
    """Arms and a grid over recipes: ``Experiment("couplings.yaml").run().frame()``.

    Args:
        reference: a YAML file, or the name of an experiment that a plugin ships.
        out: folder of the study; ``experiments/NAME`` where None.
        small: lay the file's section ``small`` over it.
        overrides: ``a.b=value`` texts over the recipe of every cell.
        seeds: in place of the file's.
        catalog: where names are looked up; everything installed when None.

    Attributes:
        design: what the file says.
        folder: of the study.

    Raises:
        ConfigError: everything that is wrong with the file.
        UnknownComponentError: no experiment has that name.
    """

    def __init__(
        self,
        reference: str | Path,
        out: str | Path | None = None,
        *,
        small: bool = False,
        overrides: Sequence[str] = (),
        seeds: Sequence[int] | None = None,
        catalog: Catalog | None = None,
    ) -> None:
        read = functools.partial(
            read_design, str(reference), small=small, overrides=tuple(overrides), seeds=seeds
        )
        self.design: Design = read(catalog=installed() if catalog is None else catalog)
        self.folder = StudyFolder(Path("experiments") / self.design.name if out is None else Path(out))
        self._source: Source = functools.partial(_cells, read)
        given = Path(reference)
        words = ["experiment", str(given.absolute() if given.is_file() else reference)]
        words += ["--small"] if small else []
        words += [word for text in overrides for word in ("--set", text)]
        words += ["--seeds", ",".join(map(str, seeds))] if seeds is not None else []
        self._words = [*words, "--out", str(self.folder.path.absolute())]

    def run(self, *, jobs: int = 1, device: str | None = None, launcher: Launcher | None = None) -> Results:
        """Carry out what is not done yet.

        A cell that finished and was not changed since is left alone; one that was begun goes on; one whose
        training was changed is trained anew, and said so. Cells that fail, or whose parts cannot work
        together, are told in the results.

        Args:
            jobs: cells at a time, each in a process of its own where there are several.
            device: the best one present where None.
            launcher: where, in place of processes of this machine.

        Raises:
            ConfigError: the recipe of a cell has a mistake; nothing was trained.
            RunError: the folder holds something else.
        """
        try:
            run_cells(
                self.design.cells,
                self.folder,
                self._source,
                jobs=jobs,
                device=device,
                design=self.design,
                launcher=launcher,
                command=[*self._words, *(["--device", device] if device else []), "--cell"],
            )
        except KeyboardInterrupt:  # what there is so far is worth a look
            self.results().write(self.folder)
            raise
        results = self.results()
        results.write(self.folder)
        return results

    def run_cell(self, name: str, *, device: str | None = None) -> State:
        """Carry out one cell, as a launcher asks on another machine; results are left to who asked.

        Raises:
            RunError: there is no such cell, or its weights are those of one that did not finish.
            ConfigError: its recipe has a mistake.
        """
        cell = next((one for one in self.design.cells if one.name == name), None)
        if cell is None:
            known = [one.name for one in self.design.cells]
            raise RunError(
                f"there is no cell {name!r}; {did_you_mean(name, known) or f'there are {len(known)}'}"
            )
        require_sound([cell])
        if not self.folder.index.is_file():
            design = self.design
            self.folder.begin(design.name, design.summary, design.axes, design.cells)
        if not _done(cell, self.folder):
            carry_out_named(self._source, name, self.folder.path, device)
        return self.folder.state(name)

    def results(self) -> Results:
        """What there is so far."""
        return read_results(self.folder)


def run_cells(
    cells: Sequence[Cell],
    study: StudyFolder,
    source: Source,
    *,
    design: Design,
    jobs: int = 1,
    device: str | None = None,
    ended: Callable[[Sequence[Cell]], None] | None = None,
    seconds: Mapping[str, float] | None = None,
    launcher: Launcher | None = None,
    command: Sequence[str] = (),
) -> None:
    """Check all cells, then carry out those that are not done.

    Args:
        cells: all of them.
        study: where.
        source: makes them anew in another process.
        design: what they are of.
        jobs: cells at a time.
        device: the best one present where None.
        ended: called with those that are done at the start, and with each that comes to an end.
        seconds: that cells took elsewhere, by their names without seeds.
        launcher: where, in place of processes of this machine.
        command: words that carry out one cell; see `Launching`.

    Raises:
        ConfigError: mistakes in recipes of cells; nothing was trained.
    """
    if jobs < 1:
        raise FlowloomError(f"--jobs must be at least 1, got {jobs}")
    if launcher is None:
        pick_device(device)  # others may have devices that this machine has not
    require_sound(cells)
    study.begin(design.name, design.summary, design.axes, cells)
    waiting = [cell for cell in cells if not _done(cell, study)]
    defined = _mark_undefined(waiting, study)
    progress = Progress(defined, len(cells), study, jobs, seconds or {})
    progress.begin()

    def told(cell: Cell, state: State) -> None:
        progress(cell, state)
        if ended is not None:
            ended([cell])

    if ended is not None:
        names = {cell.name for cell in defined}
        ended([cell for cell in cells if cell.name not in names])
    launching = Launching(defined, study, device, source, told, command)
    (Processes(jobs) if launcher is None else launcher).carry_out(launching)


def require_sound(cells: Sequence[Cell]) -> None:
    """Refuse mistakes in the recipes of cells, all at once.

    Raises:
        ConfigError: there are some.
    """
    problems: list[Problem] = []
    seen: set[tuple[str, ...]] = set()
    named = {cell.name: cell for cell in cells}
    for cell in cells:
        if cell.lacking:
            continue
        try:
            cell.recipe  # noqa: B018  (reading it is what may fail)
            key = tuple(cell.labels.values())
            if key not in seen:  # what a seed changes is no name and no type
                seen.add(key)
                for one in stages_of(cell.recipe):
                    check(one, needs=("model",))
                problems += _trained_otherwise(cell, named.get(cell.trains))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(dict.fromkeys(problems))


def _trained_otherwise(cell: Cell, other: Cell | None) -> list[Problem]:
    """Sections of a cell that training depends on and that are others where its weights are trained."""
    if other is None:
        return []
    ours, theirs = (plain(one.recipe.tree) for one in (cell, other))
    judging = {name for name, section in cell.catalog.sections.items() if section.judges}
    apart = [key for key in {**ours, **theirs} if key not in judging and ours.get(key) != theirs.get(key)]
    if not apart:
        return []
    message = f"training depends on section {apart[0]!r}, and the weights are those of {other.title!r}"
    return [cell.at.problem("trains", message, "leave 'trains:' out to train it anew")]


def _cells(read: functools.partial[Design]) -> Sequence[Cell]:
    return read(catalog=installed()).cells


def _done(cell: Cell, study: StudyFolder) -> bool:
    """Whether a cell finished as it is asked for now."""
    if cell.lacking:
        return False
    state = study.state(cell.name)
    there = study.run_of(cell).weights.is_file() and study.results_of(cell).recipe.is_file()
    return bool(there and state.state == FINISHED and state.asked == cell.asked)


def _mark_undefined(cells: Sequence[Cell], study: StudyFolder) -> list[Cell]:
    """Cells that can be carried out, told where they were changed since they were done; others are marked."""
    refused: dict[tuple[str, ...], str] = {}
    sound: set[tuple[str, ...]] = set()
    problems: list[Problem] = []
    found = []
    for cell in cells:
        key = tuple(cell.labels.values())
        if not cell.lacking and key not in refused and key not in sound:
            try:
                *_, last = assemble_stages(cell.recipe, study.run_of(cell).path).values()
                sound.add(key)
                problems += _unknown_value(cell, [v for v in values_of(last) if v not in OF_EVERY_RUN])
            except MisfitError as error:
                refused[key] = reason(error)
            except Exception:  # missing data, say: told when its turn comes
                sound.add(key)
        if key in refused:
            study.set_state(cell.name, State(UNDEFINED, refused[key], 0.0, cell.asked))
            print(f"{cell.title}: not defined: {refused[key]}", file=sys.stderr)
            continue
        found.append(cell)
        if study.state(cell.name).state == FINISHED and not cell.trains:
            other = difference(cell, study)
            if other is None:
                print(f"{cell.title}: judged again, for it is asked differently", file=sys.stderr)
            else:
                print(f"{cell.title}: trained again, for it was changed ({other})", file=sys.stderr)
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return found


def _unknown_value(cell: Cell, known: Sequence[str]) -> list[Problem]:
    """What it is to be looked at by, where it has no value of that name."""
    if not cell.by or cell.by in known:
        return []
    hint = join_hints(did_you_mean(cell.by, known), f"there are {', '.join(known)}")
    return [cell.at.problem("by", f"{cell.title} has no value named {cell.by!r}", hint)]
