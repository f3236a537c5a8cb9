"""Deciding the claims of recipes: their arms as cells, their results as verdicts."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.errors import ConfigError, Problem, UnknownComponentError
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.plugins.discovery import catalog as installed
from flowloom_registry.runs.folder import read_json
from flowloom_registry.studies.cells import ARM, Cell
from flowloom_registry.studies.claim import BASELINE, Arm, Claim, Verdict, claims_of, decide
from flowloom_registry.studies.design import Design
from flowloom_registry.studies.experiment import run_cells
from flowloom_registry.studies.folder import FINISHED, StudyFolder
from flowloom_registry.studies.needed import Needed, sides
from flowloom_registry.studies.progress import without_seed
from flowloom_registry.studies.results import HELD_OUT, SAMPLES, train_seconds
from flowloom_registry.studies.systems import systems
from flowloom_registry.studies.values import OF_EVERY_RUN

_LAST = 0.1
"""Share of the logged lines whose mean is the loss."""


@dataclass(frozen=True)
class Decided:
    """A claim and what became of it.

    Args:
        claim: what was claimed.
        verdict: what became of it.
        seeds: on which.
        costs: seconds of training and evaluations a sample of each arm, means over seeds.
        date: of the decision.
        digest: of everything that its arms are; another one makes the verdict stale.
        seconds: that each of its runs took, by their names without seeds.
    """

    claim: Claim
    verdict: Verdict
    seeds: tuple[int, ...]
    costs: tuple[tuple[float | None, float | None], ...]
    date: str
    digest: str
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return self.verdict.answer == "holds"

    def __str__(self) -> str:
        """One line: the statement, the answer, and the figures that it rests on."""
        return f"{self.claim.recipe}: {self.claim.statement}: {self.verdict.answer}: {figures(self)}"


def figures(one: Decided) -> str:
    """Mean, worst, deviation, seeds and cost in one phrase."""
    found = one.verdict
    parts = []
    if found.value is not None:
        arms = " beside ".join(f"{sum(v) / len(v):.4g}" for v in (found.of, found.over) if v)
        parts.append(f"{found.value:.3g}" + (f" ({arms})" if found.over else ""))
        spread = f", deviation {found.deviation:.2g}" if found.deviation is not None else ""
        parts.append(f"worst {found.worst:.3g}{spread}")
    parts.append(f"seeds {', '.join(map(str, one.seeds))}")
    costs = [" and ".join(_cost(*cost)) for cost in one.costs]
    parts += [" against ".join(cost for cost in costs if cost)] if any(costs) else []
    return "; ".join([*parts, *([found.why] if found.why else [])])


def _cost(seconds: float | None, evaluations: float | None) -> list[str]:
    told = [] if seconds is None else [f"{seconds:.3g} s of training"]
    asked = "evaluation" if evaluations == 1 else "evaluations"
    return told if not evaluations else [*told, f"{evaluations:.3g} {asked}"]


def find_claims(words: Iterable[str] = (), catalog: Catalog | None = None) -> list[Claim]:
    """The claims of systems, of recipes, or of everything installed.

    Args:
        words: ids of systems, names of recipes and recipe files; everything where there are none.
        catalog: where names are looked up; everything installed when None.

    Raises:
        UnknownComponentError: a word names neither a system nor a recipe.
        ConfigError: a claim is not written as one.
    """
    catalog = installed() if catalog is None else catalog
    wanted = list(words)
    names = [row.qualified for row in catalog.recipes]
    recipes = {row.name for row in catalog.recipes} | set(names)
    wanted = [str(Path(w).resolve()) if w.endswith((".yaml", ".yml")) else w for w in wanted]
    files = [word for word in wanted if word.endswith((".yaml", ".yml"))]
    for word in wanted:
        if word not in (*systems(), *recipes, *files):
            hint = join_hints(did_you_mean(word, (*systems(), *recipes)), "docs/systems.md lists all systems")
            raise UnknownComponentError(f"no system and no recipe is named {word!r}; {hint}")
    found: list[Claim] = []
    problems: list[Problem] = []
    for name in (*names, *files):
        if wanted and name not in files and not _may_have(name, wanted):
            continue
        try:
            claims = claims_of(load_recipe(name, catalog=catalog), name)
        except ConfigError as error:
            problems += error.problems
            continue
        bare = {name, name.rpartition(":")[2]}
        found += [one for one in claims if not wanted or one.system in wanted or bare & set(wanted)]
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return found


def _may_have(name: str, wanted: Sequence[str]) -> bool:
    """Whether a recipe has to be read: only where a system is asked for, which any may be of."""
    return any(word in systems() for word in wanted) or bool({name, name.rpartition(":")[2]} & set(wanted))


def verify(
    claims: Sequence[Claim],
    out: Path,
    *,
    seeds: Sequence[int] | None = None,
    jobs: int = 1,
    device: str | None = None,
    catalog: Catalog | None = None,
    told: Callable[[Decided], None] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> list[Decided]:
    """Carry out what is needed to decide claims, and decide each as soon as its runs are there.

    Arms that are trained alike share a run, whichever recipes they are of; what finished before is not run
    again.

    Args:
        claims: of any recipes.
        out: folder of the study that all runs are cells of.
        seeds: in place of those of every claim.
        jobs: cells at a time.
        device: the best one present where None.
        catalog: where names are looked up; everything installed when None.
        told: called with every claim when it is decided.
        seconds: that runs took elsewhere, by their names without seeds, to tell how long it will take.

    Raises:
        ConfigError: a claim names a metric that its recipe does not have, or an arm has a mistake; nothing
            was trained.
    """
    known = installed() if catalog is None else catalog
    folder = StudyFolder(out)
    needed = Needed(claims, folder, seeds, known)
    source = functools.partial(_cells_again, tuple(claims), out, seeds)
    waiting = [(claim, {cell.name for cell in needed.of(claim)}) for claim in claims]
    decided: dict[int, Decided] = {}

    def look(done: Iterable[Cell]) -> None:
        ended = {cell.name for cell in done}
        for claim, names in waiting:
            names -= ended
            if not names and id(claim) not in decided:
                decided[id(claim)] = one = _decided(claim, needed)
                if told is not None:
                    told(one)

    cells = needed.cells
    design = Design(out.name, "claims", cells[0].at.file if cells else "", [ARM], cells)
    run_cells(
        cells, folder, source, design=design, jobs=jobs, device=device, ended=look, seconds=seconds or {}
    )
    return [decided[id(claim)] for claim in claims]


def require_claims(
    claims: Sequence[Claim],
    *,
    out: Path = Path("claims"),
    seeds: Sequence[int] | None = None,
    catalog: Catalog | None = None,
) -> Needed:
    """The cells of claims; nothing is carried out.

    Raises:
        ConfigError: a claim names a metric that its recipe does not have, or an arm has a mistake.
    """
    return Needed(claims, StudyFolder(out), seeds, installed() if catalog is None else catalog)


def _cells_again(claims: Sequence[Claim], out: Path, seeds: Sequence[int] | None) -> Sequence[Cell]:
    """The cells of claims, in another process."""
    return require_claims(claims, out=out, seeds=seeds).cells


def _decided(claim: Claim, needed: Needed) -> Decided:
    """A claim decided by what lies in the folder."""
    seeds, folder = needed.seeds_of(claim), needed.folder
    cells = [[needed.cell(claim, arm, seed) for seed in seeds] for arm in sides(claim)]
    arms = list(zip(sides(claim), cells, strict=True))
    verdict = decide(claim, *([_value(claim.metric, arm, cell, folder) for cell in row] for arm, row in arms))
    whys = dict.fromkeys(why for row in cells for cell in row if (why := _unfinished(cell, folder)))
    if whys:
        verdict = replace(verdict, why="; ".join(whys))
    took: dict[str, list[float]] = {}
    for row in cells:
        for cell in row:
            for name in dict.fromkeys((cell.trains or cell.name, cell.name)):
                took.setdefault(without_seed(name), []).append(folder.state(name).seconds)
    return Decided(
        claim,
        verdict,
        seeds,
        tuple(_costs(arm, row, folder) for arm, row in arms),
        datetime.date.today().isoformat(),
        needed.digest(claim),
        {name: round(sum(values) / len(values), 1) for name, values in took.items()},
    )


def _unfinished(cell: Cell, folder: StudyFolder) -> str:
    """Why a cell has no results, empty where it has; of one that is asked of a run, what befell the run."""
    for name in (cell.trains, cell.name):
        state = folder.state(name) if name else None
        if state is not None and state.state != FINISHED:
            return f"{cell.title}: {state.why or state.state}"
    return ""


def _value(metric: str, arm: Arm, cell: Cell, folder: StudyFolder) -> float | None:
    """Of an arm; None where its cell did not finish."""
    if folder.state(cell.name).state != FINISHED:
        return None
    run = folder.results_of(cell)
    told: Mapping[str, Any] = read_json(run.evaluation) if run.evaluation.is_file() else {}
    if metric == "loss":
        losses = [line["loss"] for line in folder.run_of(cell).read_metrics() if "loss" in line]
        last = losses[-max(1, round(_LAST * len(losses))) :]
        return sum(last) / len(last) if last else None
    if metric in OF_EVERY_RUN:
        known = {
            "train_seconds": train_seconds(folder.run_of(cell), told),
            "evaluations": told.get("nfe"),
        }
        value = known.get(metric, told.get(metric))
        return None if value is None else float(value)
    task, _, of_task = metric.rpartition("/")
    if task in told.get("tasks", {}):
        columns, scores, metric = told["tasks"][task].get("columns", {}), {}, of_task
    else:
        columns, scores = told.get("columns", {}), told.get("scores", {})
    column = told.get("baseline") if arm.column == BASELINE else arm.column
    places = (columns.get(column), scores.get(column))
    if not arm.column:
        places = (columns.get(SAMPLES), scores.get(HELD_OUT), scores.get(SAMPLES))  # type: ignore[assignment]
    value = next((place[metric] for place in places if place and metric in place), None)
    return None if value is None else float(value)


def _costs(arm: Arm, cells: Sequence[Cell], folder: StudyFolder) -> tuple[float | None, float | None]:
    def mean(name: str) -> float | None:
        values = [_value(name, arm, cell, folder) for cell in cells]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None

    return mean("train_seconds"), mean("evaluations")
