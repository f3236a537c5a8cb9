"""Deciding the claims of recipes: their arms as cells, their results as verdicts."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowloom.metrics import Metric
from flowloom.scores import Score
from flowloom_registry.config.nodes import plain
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.errors import ConfigError, Problem, UnknownComponentError
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.plugins.discovery import catalog as installed
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.folder import read_json
from flowloom_registry.runs.identity import asked_again
from flowloom_registry.runs.stages import assemble_last
from flowloom_registry.studies.cells import FOR_PEOPLE, Cell, folder_name
from flowloom_registry.studies.claim import BASELINE, Arm, Claim, Verdict, claims_of, decide
from flowloom_registry.studies.design import ARM, Design
from flowloom_registry.studies.experiment import require_sound, run_cells
from flowloom_registry.studies.folder import FINISHED, StudyFolder
from flowloom_registry.studies.results import HELD_OUT, SAMPLES, train_seconds
from flowloom_registry.studies.systems import systems

OF_EVERY_RUN = ("loss", "train_seconds", "evaluations", "parameters")
"""Values that a claim may be about besides metrics and scores: of training, and the cost."""
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
    """

    claim: Claim
    verdict: Verdict
    seeds: tuple[int, ...]
    costs: tuple[tuple[float | None, float | None], ...]
    date: str
    digest: str

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
        parts.append(f"{found.value:.3g}")
        spread = f", deviation {found.deviation:.2g}" if found.deviation is not None else ""
        parts.append(f"worst {found.worst:.3g}{spread}")
    parts.append(f"seeds {', '.join(map(str, one.seeds))}")
    costs = [" and ".join(_cost(*cost)) for cost in one.costs]
    parts += [" against ".join(cost for cost in costs if cost)] if any(costs) else []
    return "; ".join([*parts, *([found.why] if found.why else [])])


def _cost(seconds: float | None, evaluations: float | None) -> list[str]:
    told = [] if seconds is None else [f"{seconds:.3g} s of training"]
    return told if not evaluations else [*told, f"{evaluations:.3g} evaluations"]


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
) -> list[Decided]:
    """Carry out what is needed to decide claims, and decide them.

    Arms that are trained alike share a run; what finished before is not run again.

    Args:
        claims: of any recipes.
        out: folder for a study of every recipe.
        seeds: in place of those of every claim.
        jobs: cells at a time.
        device: the best one present where None.
        catalog: where names are looked up; everything installed when None.

    Raises:
        ConfigError: a claim names a metric that its recipe does not have, or an arm has a mistake; nothing
            was trained.
    """
    decided: list[Decided] = []
    for name, study in require_claims(claims, seeds=seeds, catalog=catalog).items():
        folder = StudyFolder(out / folder_name([name.rpartition(":")[2].removesuffix(".yaml")]))
        cells = study.cells()
        source = functools.partial(_cells_again, name, seeds)
        run_cells(cells, folder, source, design=study.design(name, cells), jobs=jobs, device=device)
        decided += [study.decided(claim, folder) for claim in study.claims]
    return decided


def require_claims(
    claims: Sequence[Claim], *, seeds: Sequence[int] | None = None, catalog: Catalog | None = None
) -> dict[str, _Study]:
    """The study of every recipe, ready to be carried out; see `verify`.

    Raises:
        ConfigError: a claim names a metric that its recipe does not have, or an arm has a mistake.
    """
    known = installed() if catalog is None else catalog
    recipes = dict.fromkeys(claim.recipe for claim in claims)
    studies = {name: _Study([c for c in claims if c.recipe == name], seeds, known) for name in recipes}
    problems = [problem for study in studies.values() for problem in study.problems()]
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return studies


def _cells_again(recipe: str, seeds: Sequence[int] | None) -> Sequence[Cell]:
    """The cells of all claims of a recipe, in another process."""
    return _Study(find_claims([recipe]), seeds, installed()).cells()


class _Study:
    """The claims of one recipe as one study: an arm for each recipe that they speak of."""

    def __init__(self, claims: Sequence[Claim], seeds: Sequence[int] | None, catalog: Catalog) -> None:
        self.claims, self.catalog, self.given = claims, catalog, seeds
        self.read: dict[str, Any] = {}
        self.arms: dict[str, tuple[str, Arm]] = {}
        for claim in claims:
            for arm in (claim.of, claim.over):
                if arm is not None:
                    self._add(arm)
        self.built: dict[str, Assembly] = {}

    def _add(self, arm: Arm) -> None:
        key = json.dumps(arm.words)
        if key not in self.arms:
            title = arm.title.removesuffix(f", {arm.column}") if arm.column else arm.title
            short = folder_name([title])[:60]
            taken = [name for name, _ in self.arms.values()]
            names = (short if n == 1 else f"{short}-{n}" for n in range(1, len(taken) + 2))
            self.arms[key] = next(name for name in names if name not in taken), arm

    def name(self, arm: Arm) -> str:
        """Of the arm among those of this study."""
        return self.arms[json.dumps(arm.words)][0]

    def seeds(self, claim: Claim) -> tuple[int, ...]:
        """On which a claim is decided."""
        return claim.seeds if self.given is None else tuple(self.given)

    def _cell(self, name: str, arm: Arm, seed: int, trains: str = "") -> Cell:
        return Cell(
            name=folder_name([name, f"seed{seed}"]),
            labels={ARM: name},
            seed=seed,
            layers=arm.layers,
            catalog=self.catalog,
            at=arm.layers[-1].at,
            trains=folder_name([trains, f"seed{seed}"]) if trains else "",
            read=self.read,
        )

    def problems(self) -> list[Problem]:
        """What is wrong with the arms, and metrics that no arm has."""
        first = {name: self._cell(name, arm, 0) for name, arm in self.arms.values()}
        try:
            require_sound(list(first.values()))
            self.built = {name: assemble_last(cell.recipe) for name, cell in first.items()}
        except ConfigError as error:
            return list(error.problems)
        found = []
        for claim in self.claims:
            for arm in (claim.of, claim.over):
                known = _known(self.built[self.name(arm)]) if arm is not None else [claim.metric]
                if claim.metric not in known:
                    hint = join_hints(did_you_mean(claim.metric, known), f"there are {', '.join(known)}")
                    title = arm.title if arm is not None else ""
                    message = f"{title} has no value named {claim.metric!r}"
                    found.append(claim.metric_node.at.problem("claim.metric", message, hint))
        return found

    def cells(self) -> list[Cell]:
        """A cell for each arm and seed that a claim needs; arms that are trained alike share one run."""
        if not self.built:
            self.built = {n: assemble_last(self._cell(n, arm, 0).recipe) for n, arm in self.arms.values()}
        trained: dict[str, str] = {}
        shares: dict[str, str] = {}
        for name, arm in self.arms.values():
            key = self._trained_by(name, arm)
            shares[name] = trained.setdefault(key, name)
        found: dict[str, Cell] = {}
        for claim in self.claims:
            for seed in self.seeds(claim):
                for side in (claim.of, claim.over):
                    if side is None:
                        continue
                    name = self.name(side)
                    for one in dict.fromkeys((shares[name], name)):
                        arm = next(arm for known, arm in self.arms.values() if known == one)
                        trains = shares[one] if shares[one] != one else ""
                        cell = self._cell(one, arm, seed, trains)
                        found.setdefault(cell.name, cell)
        return list(found.values())

    def _trained_by(self, name: str, arm: Arm) -> str:
        """Everything that the training of an arm depends on, as text."""
        tree = plain(self._cell(name, arm, 0).recipe.tree)
        apart = {*asked_again(self.built[name]), *FOR_PEOPLE}
        return json.dumps({k: v for k, v in tree.items() if k not in apart}, sort_keys=True)

    def design(self, name: str, cells: Sequence[Cell]) -> Design:
        """As an experiment, for its folder."""
        return Design(name, "; ".join(c.statement for c in self.claims), cells[0].at.file, [ARM], cells)

    def decided(self, claim: Claim, folder: StudyFolder) -> Decided:
        """A claim decided by what lies in the folder."""
        seeds = self.seeds(claim)
        arms = [arm for arm in (claim.of, claim.over) if arm is not None]
        values = [[self._value(claim.metric, arm, seed, folder) for seed in seeds] for arm in arms]
        verdict = decide(claim, *values)
        costs = tuple(self._costs(arm, seeds, folder) for arm in arms)
        date = datetime.date.today().isoformat()
        return Decided(claim, verdict, seeds, costs, date, self.digest(claim))

    def digest(self, claim: Claim) -> str:
        """Of everything that the arms of a claim are."""
        arms = [arm for arm in (claim.of, claim.over) if arm is not None]
        words = [self._cell(self.name(arm), arm, 0).asked for arm in arms]
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:16]

    def _entry(self, arm: Arm, seed: int, folder: StudyFolder) -> tuple[Any, Any] | None:
        """Run folder with the results of an arm, and its table; None where it did not finish."""
        name = folder_name([self.name(arm), f"seed{seed}"])
        entry = next((one for one in folder.entries() if one.name == name), None)
        if entry is None or folder.state(name).state != FINISHED:
            return None
        run = folder.results_of(entry)
        return run, read_json(run.evaluation) if run.evaluation.is_file() else {}

    def _value(self, metric: str, arm: Arm, seed: int, folder: StudyFolder) -> float | None:
        found = self._entry(arm, seed, folder)
        if found is None:
            return None
        run, told = found
        if metric == "loss":
            losses = [line["loss"] for line in run.read_metrics() if "loss" in line]
            last = losses[-max(1, round(_LAST * len(losses))) :]
            return sum(last) / len(last) if last else None
        if metric in OF_EVERY_RUN:
            known = {"train_seconds": train_seconds(run, told), "evaluations": told.get("nfe")}
            value = known.get(metric, told.get(metric))
            return None if value is None else float(value)
        columns, scores = told.get("columns", {}), told.get("scores", {})
        column = told.get("baseline") if arm.column == BASELINE else arm.column
        places = (columns.get(column), scores.get(column))
        if not arm.column:
            places = (columns.get(SAMPLES), scores.get(HELD_OUT), scores.get(SAMPLES))  # type: ignore[assignment]
        value = next((place[metric] for place in places if place and metric in place), None)
        return None if value is None else float(value)

    def _costs(
        self, arm: Arm, seeds: Sequence[int], folder: StudyFolder
    ) -> tuple[float | None, float | None]:
        names = ("train_seconds", "evaluations")
        values = [[self._value(name, arm, seed, folder) for seed in seeds] for name in names]
        seconds, evaluations = (
            None if None in one or not one else sum(v for v in one if v is not None) / len(one)
            for one in values
        )
        return seconds, evaluations


def _known(assembly: Assembly) -> list[str]:
    """Names of the values that an arm will have."""
    judges: list[Metric | Score] = [*assembly.metrics, *assembly.scores]
    return [*dict.fromkeys(name for judge in judges for name in judge.better), *OF_EVERY_RUN]


def digests(claims: Sequence[Claim], catalog: Catalog | None = None) -> list[str]:
    """What each claim's arms are now, to tell a stale verdict."""
    known = installed() if catalog is None else catalog
    return [_Study([claim], None, known).digest(claim) for claim in claims]
