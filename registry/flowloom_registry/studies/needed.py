"""The cells that claims need. Arms that are the same share a run, whichever recipes claim something of them,
and so do arms that are trained alike.

The name of a run says what it is (``checkerboard-mlp-meanflow-3f2a91bc_seed0``: data, network, objective, and
a digest of everything that training depends on), so that another call with other claims finds it.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flowloom.errors import DataError, MissingDependencyError
from flowloom_registry.config.nodes import MapNode
from flowloom_registry.config.stages import staged
from flowloom_registry.config.yaml import read
from flowloom_registry.errors import ConfigError, Problem
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.identity import asked_again
from flowloom_registry.runs.stages import assemble_stages
from flowloom_registry.studies.cells import ARM, Cell, folder_name
from flowloom_registry.studies.claim import Arm, Claim
from flowloom_registry.studies.experiment import require_sound
from flowloom_registry.studies.folder import StudyFolder
from flowloom_registry.studies.values import values_of

_LEAN = read("evaluate: {sweep_nfe: []}\nrenderer: null\n", "claims").root
"""The sweep and the pictures: no claim looks at them, and they often take longer than training."""
_TITLE = 90
_SAID_IN_NAMES = ("data", "model", "objective")


@dataclass(frozen=True)
class _Known:
    """An arm that was read.

    Args:
        cell: as it would stand by itself, under seed 0.
        digest: of everything that it is.
        run: the run that it is asked of, without a seed.
        has: names of its values; None where it cannot be built here.
    """

    cell: Cell
    digest: str
    run: str
    has: Sequence[str] | None


@dataclass
class Needed:
    """The cells of claims.

    Args:
        claims: of any recipes.
        folder: where they are carried out; finished runs there keep the arm that they were judged for.
        seeds: in place of those of every claim.
        catalog: where names are looked up.

    Raises:
        ConfigError: a claim names a metric that its recipe does not have, an arm has a mistake, or both arms
            are one run. Data that are not here are no mistake: the cell will say so.
    """

    claims: Sequence[Claim]
    folder: StudyFolder
    seeds: Sequence[int] | None
    catalog: Catalog
    _read: dict[str, Any] = field(default_factory=dict, init=False)
    _arms: dict[str, _Known] = field(default_factory=dict, init=False)
    _cells: dict[tuple[str, int], Cell] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        problems: list[Problem] = []
        for claim in self.claims:
            for arm in sides(claim):
                try:
                    known = self._known(claim, arm)
                except ConfigError as error:
                    problems += error.problems
                    continue
                if known.has is not None and claim.metric not in known.has:
                    hint = join_hints(
                        did_you_mean(claim.metric, known.has), f"there are {', '.join(known.has)}"
                    )
                    message = f"{arm.title} has no value named {claim.metric!r}"
                    problems.append(claim.metric_node.at.problem("claim.metric", message, hint))
            problems += self._twice(claim)
        if problems:
            raise ConfigError(dict.fromkeys(problems))
        self._plan()

    @property
    def cells(self) -> list[Cell]:
        """All of them, claim by claim."""
        found: dict[str, Cell] = {}
        for claim in self.claims:
            for cell in self.of(claim):
                found.setdefault(cell.trains or cell.name, self._by_name(cell.trains or cell.name))
                found.setdefault(cell.name, cell)
        return list(found.values())

    def of(self, claim: Claim) -> list[Cell]:
        """Those of one claim."""
        return [self.cell(claim, arm, seed) for seed in self.seeds_of(claim) for arm in sides(claim)]

    def cell(self, claim: Claim, arm: Arm, seed: int) -> Cell:
        """Of one arm and seed."""
        return self._cells[self._known(claim, arm).digest, seed]

    def seeds_of(self, claim: Claim) -> tuple[int, ...]:
        """On which a claim is decided."""
        return claim.seeds if self.seeds is None else tuple(self.seeds)

    def digest(self, claim: Claim) -> str:
        """Of everything that the arms of a claim are."""
        return digest_of(claim, self.catalog, self._read)

    def _twice(self, claim: Claim) -> list[Problem]:
        """Arms in other words that are one and the same run all the same."""
        found = [(self._arms.get(_key(claim, arm)), arm.column) for arm in sides(claim)]
        digests = {(known.digest, column) for known, column in found if known is not None}
        if claim.over is None or None in [known for known, _ in found] or len(digests) > 1:
            return []
        return [claim.node.at.problem("claim.over", "both arms are the same, so it cannot fail")]

    def _by_name(self, name: str) -> Cell:
        return next(cell for cell in self._cells.values() if cell.name == name)

    def _known(self, claim: Claim, arm: Arm) -> _Known:
        key = _key(claim, arm)
        if key not in self._arms:
            self._arms[key] = self._new(claim, arm)
        return self._arms[key]

    def _new(self, claim: Claim, arm: Arm) -> _Known:
        assert isinstance(_LEAN, MapNode)
        cell = _cell(arm, self.catalog, self._read, _title(claim, arm), (_LEAN,))
        words = {k: v for k, v in cell.asked["recipe"].items() if k != "seed"}
        # Names in a file are relative to it.
        home = str(Path(claim.recipe).parent) if claim.recipe.endswith((".yaml", ".yml")) else ""
        digest = _digest([words, home])
        same = next((known for known in self._arms.values() if known.digest == digest), None)
        if same is not None:
            return same
        require_sound([cell])
        built = _built(cell)
        apart: set[str] = set()
        # Sections beside stages are those of every stage.
        if built is not None and not staged(cell.recipe):
            apart = asked_again(built)
        trained = _digest([{k: v for k, v in words.items() if k not in apart}, home])
        said = [_word(words.get(section)) for section in _SAID_IN_NAMES]
        run = f"{folder_name(['-'.join(word for word in said if word)])}-{trained}"
        return _Known(cell, digest, run, None if built is None else values_of(built))

    def _plan(self) -> None:
        wanted: dict[int, dict[str, _Known]] = {}
        for claim in self.claims:
            for seed in self.seeds_of(claim):
                for arm in sides(claim):
                    known = self._known(claim, arm)
                    wanted.setdefault(seed, {}).setdefault(known.digest, known)
        taken: dict[str, str] = {}
        for seed, arms in wanted.items():
            for known in arms.values():
                alike = [one for one in arms.values() if one.run == known.run]
                run = f"{known.run}_seed{seed}"
                judged = self.folder.state(run).asked
                own = next((one for one in alike if _at(one, run, seed).asked == judged), alike[0])
                title = known.cell.title.rpartition(" · ")[0]
                if taken.setdefault(title, known.digest) != known.digest:
                    title = f"{title} ({known.digest})"
                cell = _at(known, run, seed, title=title)
                if known is not own:
                    cell = _at(known, f"{known.run}_{known.digest}_seed{seed}", seed, run, title)
                self._cells[known.digest, seed] = cell


def _key(claim: Claim, arm: Arm) -> str:
    """By which an arm that was read is found again."""
    return json.dumps([claim.recipe, arm.words])


def sides(claim: Claim) -> Iterator[Arm]:
    """The one arm of a claim, or both."""
    yield claim.of
    if claim.over is not None:
        yield claim.over


def digest_of(claim: Claim, catalog: Catalog, known: dict[str, Any]) -> str:
    """Of everything that the arms of a claim are: another one makes a verdict stale.

    Args:
        claim: the claim.
        catalog: where names are looked up.
        known: files that were read before.
    """
    words = [_cell(arm, catalog, known, "").asked for arm in sides(claim)]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:16]


def _cell(
    arm: Arm, catalog: Catalog, known: dict[str, Any], title: str, above: Sequence[MapNode] = ()
) -> Cell:
    return Cell(
        name="claim",
        labels={ARM: title},
        seed=0,
        layers=(*arm.layers, *above),
        catalog=catalog,
        at=arm.layers[-1].at,
        read=known,
    )


def _at(known: _Known, name: str, seed: int, trains: str = "", title: str = "") -> Cell:
    labels: Mapping[str, str] = {ARM: title} if title else known.cell.labels
    return replace(known.cell, name=name, seed=seed, trains=trains, labels=labels)


def _title(claim: Claim, arm: Arm) -> str:
    """In few words, without the column: ``meanflow-checkerboard, solver steps 2``."""
    title = arm.title.removesuffix(f", {arm.column}") if arm.column else arm.title
    own = arm.words[0] == {"extends": claim.recipe}
    if own and len(arm.layers) > 1:
        bare = Path(claim.recipe).stem if claim.recipe.endswith((".yaml", ".yml")) else claim.recipe
        title = f"{bare.rpartition(':')[2]}, {title}"
    return textwrap.shorten(title, _TITLE, placeholder=" …")


def _digest(words: Any) -> str:
    return hashlib.sha256(json.dumps(words, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _word(value: Any) -> str:
    """A section in one word."""
    found = value.get("use", "") if isinstance(value, Mapping) else value
    return found if isinstance(found, str) else ""


def _built(cell: Cell) -> Assembly | None:
    """Of its last stage, untrained; None where what it needs is not here.

    Raises:
        ConfigError: parts have a mistake, or cannot work together.
    """
    try:
        return list(assemble_stages(cell.recipe, Path(cell.name)).values())[-1]
    except ConfigError as error:
        if isinstance(error.__cause__, DataError | MissingDependencyError):
            return None
        raise
