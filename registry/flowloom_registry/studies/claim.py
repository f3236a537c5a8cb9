"""What a recipe claims: a metric of one arm beside that of another, over seeds.

.. code-block:: yaml

    claim:
      - says: one evaluation is enough
        metric: energy_distance
        of: {solver: {steps: 1}}                 # laid over this recipe; the recipe itself where left out
        over: {objective: flow-matching, solver: {use: euler, steps: 1}}    # or another recipe's name
        most: 0.2

The statistic is the ratio of the means of both arms over seeds (``as: difference`` subtracts), or the mean of
one arm where nothing stands under ``over``. It holds where the statistic is on the right side of ``most`` or
``least``, and not where it is on the wrong one; nothing is decided by fewer seeds than were asked for, nor
where the deviation of the statistic from seed to seed is larger than its gap to the limit. ``each: true``
asks the same of the worst seed. A value may be that of another column of the table (``column: training data``
in an arm), or its distance from a number (``from: 1``, for accuracies and ratios). ``metric: inpaint/psnr``
is a value of the recipe's task ``inpaint``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flowloom_registry.config.nodes import Entry, ListNode, MapNode, Node, ScalarNode, given, plain
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.errors import ConfigError, Problem
from flowloom_registry.nearest import did_you_mean, join_hints, listing
from flowloom_registry.studies.cells import word_of
from flowloom_registry.studies.results import FLOOR, HELD_OUT, SAMPLES
from flowloom_registry.studies.summary import Spread
from flowloom_registry.studies.systems import system_of_paper, systems

KEYS = ("says", "system", "metric", "of", "over", "as", "most", "least", "from", "seeds", "each")
BASELINE = "baseline"
"""The column that any flow has to beat, whatever it is called in a table."""

COLUMNS = (SAMPLES, FLOOR, BASELINE, HELD_OUT)
ENOUGH = 3
"""Seeds where a claim does not say how many."""
MOST_SEEDS = 1000

Answer = Literal["holds", "does not hold", "not decided"]


@dataclass(frozen=True)
class Arm:
    """One side of a claim.

    Args:
        layers: sections, from the bottom to the top.
        column: of the table of results; empty for samples, or what a score was asked about.
        title: in few words.
    """

    layers: tuple[MapNode, ...]
    column: str
    title: str

    @property
    def words(self) -> Any:
        """What it is, as plain data."""
        return [plain(layer) for layer in self.layers]


@dataclass(frozen=True)
class Claim:
    """One claim of a recipe.

    Args:
        recipe: reference of the recipe.
        system: id of the system whose claim it is.
        says: in the words of people, may be empty.
        metric: name of the value; ``task/metric`` of a task.
        of: whose value.
        over: beside which; None for a value by itself.
        difference: whether values are subtracted and not divided.
        limit: on the statistic.
        most: whether the limit is the largest value, and not the least.
        origin: values are distances from here, where it is given.
        seeds: of every arm.
        each: whether the worst seed has to hold as well.
        node: where it was written.
        metric_node: where its metric was written.
    """

    recipe: str
    system: str
    says: str
    metric: str
    of: Arm
    over: Arm | None
    difference: bool
    limit: float
    most: bool
    origin: float | None
    seeds: tuple[int, ...]
    each: bool
    node: MapNode
    metric_node: Node

    @property
    def statement(self) -> str:
        """The inequality: ``energy_distance (flow-map) / (euler) <= 0.2``."""
        name = self.metric if self.origin is None else f"|{self.metric} - {self.origin:g}|"
        between = "" if self.over is None else f" {'-' if self.difference else '/'} ({self.over.title})"
        return f"{name} ({self.of.title}){between} {'<=' if self.most else '>='} {self.limit:g}"


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Args:
        answer: one of three.
        why: nothing was decided; empty otherwise.
        value: the statistic.
        worst: of the seeds.
        deviation: of the statistic from seed to seed.
        of: values of the arm.
        over: values of the other, empty where there is none.
    """

    answer: Answer
    why: str = ""
    value: float | None = None
    worst: float | None = None
    deviation: float | None = None
    of: tuple[float, ...] = ()
    over: tuple[float, ...] = ()


def decide(claim: Claim, of: Sequence[float | None], over: Sequence[float | None] = ()) -> Verdict:
    """Decide a claim by the values of its arms, seed by seed.

    Args:
        claim: what is claimed.
        of: a value for each seed, None where there is none.
        over: as many of the other arm, where there is one.
    """
    ours = _distances(claim, of)
    theirs = _distances(claim, over) if claim.over is not None else [1.0] * len(of)
    if ours is None or theirs is None:
        return Verdict("not decided", "there is no value for every seed")
    if claim.over is not None and not claim.difference and 0.0 in (*theirs, sum(theirs)):
        return Verdict("not decided", "a ratio to zero", of=tuple(ours), over=tuple(theirs))

    def statistic(a: float, b: float) -> float:
        return a if claim.over is None else a - b if claim.difference else a / b

    n = len(ours)
    value = statistic(sum(ours) / n, sum(theirs) / n)
    every = [statistic(a, b) for a, b in zip(ours, theirs, strict=True)]
    worst = max(every) if claim.most else min(every)
    deviation = Spread(tuple(every)).deviation
    found = {
        "value": value,
        "worst": worst,
        "deviation": deviation,
        "of": tuple(ours),
        "over": tuple(theirs) if claim.over is not None else (),
    }
    if n < len(claim.seeds):
        return Verdict("not decided", f"{n} of {len(claim.seeds)} seeds", **found)  # type: ignore[arg-type]
    gap = abs(value - claim.limit)
    if deviation is not None and deviation > gap:
        why = f"the deviation over seeds, {deviation:.2g}, is larger than the gap to the limit, {gap:.2g}"
        return Verdict("not decided", why, **found)  # type: ignore[arg-type]
    judged = worst if claim.each else value
    holds = judged <= claim.limit if claim.most else judged >= claim.limit
    return Verdict("holds" if holds else "does not hold", "", **found)  # type: ignore[arg-type]


def _distances(claim: Claim, values: Sequence[float | None]) -> list[float] | None:
    found = [v for v in values if v is not None and math.isfinite(v)]
    if len(found) != len(values) or not found:
        return None
    return found if claim.origin is None else [abs(v - claim.origin) for v in found]


def claims_of(recipe: Recipe, reference: str) -> list[Claim]:
    """The claims of a recipe.

    Args:
        recipe: that was read.
        reference: by which it is read again.

    Raises:
        ConfigError: a claim is not written as one, or cannot fail.
    """
    node = recipe.tree.get("claim")
    if node is None or (isinstance(node, ScalarNode) and node.value is None):
        return []
    reading = _Reading(recipe, reference)
    items = node.items if isinstance(node, ListNode) else (node,)
    found = [reading.claim(item, f"claim[{i}]") for i, item in enumerate(items)]
    if reading.problems:
        raise ConfigError(reading.problems)
    return [claim for claim in found if claim is not None]


class _Reading:
    """Collects every problem of the claims of one recipe."""

    def __init__(self, recipe: Recipe, reference: str) -> None:
        self.recipe, self.reference = recipe, reference
        self.sections = recipe.catalog.sections
        self.problems: list[Problem] = []

    def refuse(self, node: Node, path: str, message: str, hint: str = "") -> None:
        self.problems.append(node.at.problem(path, message, hint))

    def claim(self, node: Node, path: str) -> Claim | None:
        if not isinstance(node, MapNode):
            self.refuse(node, path, f"expected a mapping ({', '.join(KEYS)}), got {given(node)}")
            return None
        before = len(self.problems)
        for key, entry in node.entries.items():
            if key not in KEYS:
                hint = join_hints(did_you_mean(str(key), KEYS), f"keys: {', '.join(KEYS)}")
                problem = entry.key_at.problem(f"{path}.{key}", f"a claim has no key {key!r}", hint)
                self.problems.append(problem)
        metric = node.get("metric")
        if not (isinstance(metric, ScalarNode) and isinstance(metric.value, str)):
            self.refuse(
                metric or node, f"{path}.metric", "a claim is about a metric: 'metric: energy_distance'"
            )
        limits = [key for key in ("most", "least") if node.get(key) is not None]
        if len(limits) != 1:
            message = "a claim without a limit cannot fail" if not limits else "a claim has one limit"
            self.refuse(node, path, message, "give one of 'most:' and 'least:'")
        limit = self.number(node.get(limits[0]), f"{path}.{limits[0]}") if limits else None
        of, over = self.arm(node.get("of"), f"{path}.of"), self.other(node, path)
        if over is not None and (of.words, of.column) == (over.words, over.column):
            self.refuse(node.get("over") or node, f"{path}.over", "both arms are the same, so it cannot fail")
        how = self.word(node.get("as"), f"{path}.as", ("ratio", "difference"))
        if how and over is None:
            self.refuse(node.get("as") or node, f"{path}.as", f"a {how} is of two arms", "add 'over:'")
        seeds, each = self.seeds(node.get("seeds"), f"{path}.seeds"), self.flag(node, "each", path)
        origin = self.number(node.get("from"), f"{path}.from") if node.get("from") is not None else None
        system = self.system(node, path)
        if len(self.problems) > before or limit is None or not isinstance(metric, ScalarNode):
            return None
        return Claim(
            recipe=self.reference,
            system=system,
            says=self.word(node.get("says"), f"{path}.says"),
            metric=str(metric.value),
            of=of,
            over=over,
            difference=how == "difference",
            limit=limit,
            most=limits[0] == "most",
            origin=origin,
            seeds=seeds,
            each=each,
            node=node,
            metric_node=metric,
        )

    def other(self, node: MapNode, path: str) -> Arm | None:
        over = node.get("over")
        return None if over is None else self.arm(over, f"{path}.over")

    def arm(self, node: Node | None, path: str) -> Arm:
        """An arm: this recipe, another one by its name, or what is laid over either."""
        at = self.recipe.tree.at
        own = MapNode({"extends": Entry(at, ScalarNode(self.reference, at))}, at)
        bare = self.recipe.name
        if node is None or (isinstance(node, ScalarNode) and node.value is None):
            return Arm((own,), "", bare)
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            other = MapNode({"extends": Entry(node.at, node)}, node.at)
            return Arm((other,), "", node.value)
        if not isinstance(node, MapNode):
            self.refuse(node, path, f"expected a recipe's name, or what is laid over one, got {given(node)}")
            return Arm((own,), "", bare)
        base = node.get("recipe")
        column = self.word(node.get("column"), f"{path}.column", COLUMNS)
        for key, entry in node.entries.items():
            if key not in (*self.sections, "recipe", "column"):
                hint = join_hints(
                    did_you_mean(str(key), self.sections), "an arm has sections, recipe and column"
                )
                problem = entry.key_at.problem(f"{path}.{key}", f"a recipe has no section {key!r}", hint)
                self.problems.append(problem)
        if node.get("seed") is not None:
            self.refuse(
                node, f"{path}.seed", "an arm has no seed of its own", "write 'seeds: [0, 1, 2]' beside it"
            )
        inside = {k: v for k, v in node.entries.items() if k not in ("recipe", "column")}
        layer = MapNode(inside, node.at)
        below = own if base is None else MapNode({"extends": Entry(base.at, base)}, base.at)
        words = [*([word_of(base)] if base is not None else []), *([word_of(layer)] if inside else [])]
        title = ", ".join([*(words or [bare]), *([column] if column else [])])
        return Arm((below, layer) if inside else (below,), column, title)

    def number(self, node: Node | None, path: str) -> float | None:
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        if node is not None:
            self.refuse(node, path, f"expected a finite number, got {given(node)}")
        return None

    def word(self, node: Node | None, path: str, known: Sequence[str] = ()) -> str:
        if node is None:
            return ""
        if not (isinstance(node, ScalarNode) and isinstance(node.value, str)):
            self.refuse(node, path, f"expected a text, got {given(node)}")
            return ""
        if known and node.value not in known:
            hint = join_hints(did_you_mean(node.value, known), f"known: {listing(known)}")
            self.refuse(node, path, f"{node.value!r} is none of them", hint)
            return ""
        return node.value

    def flag(self, node: MapNode, key: str, path: str) -> bool:
        found = node.get(key)
        value = found.value if isinstance(found, ScalarNode) else False
        if found is not None and not isinstance(value, bool):
            self.refuse(found, f"{path}.{key}", f"expected true or false, got {given(found)}")
        return value is True

    def seeds(self, node: Node | None, path: str) -> tuple[int, ...]:
        """``seeds: 5`` are those from 0 to 4; a list says which."""
        value: Any = ENOUGH if node is None else plain(node)
        number = isinstance(value, int) and not isinstance(value, bool) and value <= MOST_SEEDS
        found = list(range(value)) if number else value
        sound = isinstance(found, list) and found and all(type(one) is int and one >= 0 for one in found)
        if node is not None and not sound:
            expected = f"a number of seeds, at most {MOST_SEEDS}, or a list of them"
            self.refuse(node, path, f"expected {expected}, got {given(node)}")
        elif node is not None and len(set(found)) < len(found):
            self.refuse(node, path, "a seed stands there twice, and is one figure")
        return tuple(found) if sound else ()

    def system(self, node: MapNode, path: str) -> str:
        """Of the claim, else of the recipe's paper."""
        word = node.get("system")
        if word is None:
            return system_of_paper(self.recipe.paper)
        return self.word(word, f"{path}.system", tuple(systems()))
