"""A built recipe as things that can be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from flowloom.baselines import Baseline
from flowloom.codecs import Codec
from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom.renderers import Renderer
from flowloom.scores import Score
from flowloom.seeds import derive, generator
from flowloom.solvers import Solution
from flowloom.spec import Spec
from flowloom.state import Cond, map_state
from flowloom.tasks import Task
from flowloom.trackers import Tracker
from flowloom.training import Feed, Rows, TrainConfig
from flowloom.views import Viewed
from flowloom_registry.config.build import Built, Rebuild, build
from flowloom_registry.config.plan import ComponentPlan
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.taken import RunPlan
from flowloom_registry.errors import ConfigError
from flowloom_registry.numbered import numbered
from flowloom_registry.runs.config import EvaluateConfig, SampleConfig, ValidateConfig
from flowloom_registry.runs.progress import progress
from flowloom_registry.runs.used import OtherRuns

_T = TypeVar("_T")


@dataclass
class Assembly:
    """The parts of a recipe, ready to train, sample and judge.

    Args:
        built: where they come from.
        flow: model and everything around it.
        feed: where the batches of training come from.
        data: training split as the flow is judged by it, which is after all views that are not mere
            augmentation, every row by a generator of its own.
        metrics: judges of samples.
        baselines: rules of the domain by their name, a column each.
        scores: judges of the flow.
        tasks: what is asked of the flow about held-out rows.
        renderer: shows samples, where there is one.
        trackers: follow the run.
        train: settings of training.
        validate: settings of looks at held-out data.
        evaluate: settings of evaluation.
        sample: settings of the report's samples.
        fitted: identities of the metrics that were fitted already.
        taken: sections that came from another run, where they were fitted.
    """

    built: Built
    flow: Flow
    feed: Feed
    data: Dataset | None
    metrics: Sequence[Metric]
    baselines: Mapping[str, Baseline]
    scores: Sequence[Score]
    tasks: Sequence[Task]
    renderer: Renderer | None
    trackers: Sequence[Tracker]
    train: TrainConfig
    validate: ValidateConfig
    evaluate: EvaluateConfig
    sample: SampleConfig
    fitted: set[int] = field(default_factory=set)
    taken: frozenset[str] = frozenset()

    @property
    def runs(self) -> OtherRuns:
        """The other runs that parts were taken from."""
        assert isinstance(self.built.runs, OtherRuns)
        return self.built.runs

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.built.recipe.name

    @property
    def spec(self) -> Spec:
        """Of the data; of what the feed gives where there is no data set."""
        return self.feed.spec if self.data is None else self.data.spec

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return self.built.seed

    @property
    def judged(self) -> bool:
        """Whether the recipe names anything to judge the flow by."""
        return bool(self.metrics or self.scores or self.tasks)

    def examples(self) -> Dataset | None:
        """What parts are fitted on: what the feed shows, the data where it shows none."""
        shown = self.feed.examples()
        return self.data if shown is None else shown

    def to(self, device: torch.device) -> None:
        """Move the flow, and the flows of other runs that anything here asks."""
        self.flow.to(device)
        self.runs.to(device)

    def keep_data_in(self, folder: Path) -> None:
        """Let data that make something once keep it in a folder of each, and take up what is there."""
        for path, data in self.built.places.made(Dataset):
            data.keep_in(folder / path)

    def make_data(self, name: str) -> None:
        """Make what the data make once; what is there already is not made again."""
        for _, data in self.built.places.made(Dataset):
            with progress(f"{name}making {type(data).__name__.lower()}", len(data), patience=1.0) as report:
                data.make(lambda done, report=report: report(done, {}))

    def fit_parts(self) -> list[str]:
        """Fit what is fitted and was not in another run; returns the names of those parts."""
        return self.flow.fit_parts(self.examples(), seed=self.seed, without=self.taken)

    def require_data(self, why: str) -> Dataset:
        """The training split.

        Raises:
            IncompatibleError: the recipe has no data; says ``why`` there must be some.
        """
        if self.data is None:
            raise IncompatibleError(f"{why}, and this recipe has no section 'data:'")
        return self.data

    def held_out(self) -> Dataset | None:
        """The held-out split, None where the data has none.

        Raises:
            DataError: the recipe names another split than the usual one, and the data lack it.
        """
        if self.data is None:
            return None
        try:
            return self.data.split(self.evaluate.split)
        except DataError:
            if self.evaluate.split != EvaluateConfig.split:
                raise
            return None

    def in_range(self, examples: Examples) -> Examples:
        """Data with whole turns of periodic coordinates taken off, as samples have them."""
        if self.flow.codec is not None:
            return examples
        return Examples(self.flow.geometry.wrap(examples.x), examples.cond)

    def decode(self, x: Any, cond: Cond | None = None) -> Any:
        """States to data, on the CPU."""
        with torch.no_grad(), self.flow.evaluating():
            data = self.flow.decode(Examples(x, cond or {}))
        return map_state(lambda v: v.cpu(), data.x)

    def drawn(self, solution: Solution, asked: Cond) -> Examples:
        """What a solve drew, as data on the CPU, with the conditions asked for and those that it made up."""
        with torch.no_grad(), self.flow.evaluating():
            data = self.flow.decode(Examples(solution.x, solution.cond)).to("cpu")
        return self._told(data, asked)

    def otherwise(self, solution: Solution, asked: Cond) -> dict[str, Examples]:
        """The same by the decoders that the codec compares its own with, by their names."""
        found = self.compared(Examples(solution.x, solution.cond))
        return {name: self._told(data, asked) for name, data in found.items()}

    def compared(self, states: Examples) -> dict[str, Examples]:
        """States by those decoders, as data on the CPU."""
        codec = self.flow.codec
        if codec is None:
            return {}
        with torch.no_grad(), self.flow.evaluating():
            return {name: data.to("cpu") for name, data in codec.compared(states).items()}

    def _told(self, data: Examples, asked: Cond) -> Examples:
        return Examples(data.x, {**asked, **{name: data.cond[name] for name in self.flow.objective.invents}})

    def to_ask(self, cond: Mapping[str, _T]) -> dict[str, _T]:
        """Conditions of data without those that the flow makes up by itself."""
        return {name: v for name, v in cond.items() if name not in self.flow.objective.invents}

    def as_answered(self, answers: Examples, layout: Layout | None) -> Examples:
        """Answers as metrics look at them: laid out as their truth is, or as they say where they may.

        Args:
            answers: of a flow or a rule, with conditions.
            layout: of the truth. Where the flow makes up which entries are real (the length of an utterance),
                that of the answers counts.
        """
        made_up = set(self.spec.named("real")) & set(self.flow.objective.invents)
        if made_up and made_up <= set(answers.cond):
            return answers.laid_out(self.spec)
        return replace(answers, layout=layout)

    def encode(self, examples: Examples, device: torch.device) -> Examples:
        """Data to states, on ``device``; data they stay where the objective encodes by itself."""
        if self.flow.objective.encodes:
            return examples.to(device)
        with torch.no_grad(), self.flow.evaluating():
            draws = torch.Generator(device).manual_seed(derive(self.evaluate.seed, "encode"))
            return self.flow.encode(examples.to(device), draws)

    def class_condition(self) -> str | None:
        """Name of the first condition that is a class, None where there is none."""
        for name, condition in self.spec.conditions.items():
            if condition.classes is not None and not condition.shape:
                return name
        return None

    def lengths(self, n: int, seed: int = 0) -> dict[str, Tensor]:
        """Which entries of ``n`` examples are real, drawn as in the training data.

        None of those that the flow says by itself. Where there are several they are of one row together.
        """
        sizes = [name for name in self.spec.named("real") if name in self.asked_for()]
        if not sizes:
            return {}
        data = self.require_data("sizes of examples are those of data")
        rows = torch.randint(len(data), (n,), generator=generator(seed, "lengths"))
        drawn = data.take(rows).cond
        return {name: drawn[name] for name in sizes}

    def asked_for(self) -> set[str]:
        """Names of the conditions that a draw is to be given."""
        starts = set(self.spec.named("start")) if self.flow.source.starts_alone else set()
        return set(self.to_ask(self.spec.conditions)) - starts

    def conditions_to_show(
        self, n: int, rows: Tensor | None = None, seed: int | None = None
    ) -> dict[str, Tensor]:
        """Conditions for ``n`` examples: held-out ones, classes spread evenly; mere sizes are drawn.

        Args:
            n: how many in all.
            rows: which of them, all where None; so a million need not be there together.
            seed: of sizes; that of the report's samples where None.
        """
        asked = self.asked_for()
        rows = torch.arange(n) if rows is None else rows
        if not asked:
            return {}
        if asked == set(self.spec.named("real")):
            return self.lengths(len(rows), self.sample.seed if seed is None else seed)
        label = self.class_condition()
        if label is not None and asked == {label}:
            classes = self.spec.conditions[label].classes or 1
            return {label: rows * classes // n if n >= classes else rows}
        return {name: value for name, value in self._unseen(rows).cond.items() if name in asked}

    def conditions_left(
        self, given: Mapping[str, Tensor], n: int, rows: Tensor | None = None, seed: int | None = None
    ) -> dict[str, Tensor]:
        """What is given, and what is not from held-out rows, with sizes drawn; nothing where all is given.

        Args:
            given: conditions of the ``rows``.
            n: examples in all.
            rows: which of them, all where None.
            seed: of sizes; see `conditions_to_show`.
        """
        if not self.asked_for() - set(given):
            return dict(given)
        count = n if rows is None else len(rows)
        return self.lengths(count, seed or 0) | self.conditions_to_show(n, rows, seed) | dict(given)

    def _unseen(self, rows: Tensor) -> Examples:
        """Held-out examples, training ones where nothing is held out; from the start again if short."""
        source = self.held_out() or self.require_data("conditions come from held-out rows")
        return source.take(rows % len(source))


def assemble(
    recipe: Recipe,
    *,
    planned: Mapping[str, Assembly] | None = None,
    data: Rebuild | None = None,
    sparing: bool = False,
) -> Assembly:
    """Build a recipe under its own seed, so that initial weights repeat.

    Args:
        recipe: what to build.
        planned: stages before it that are built and not trained yet.
        data: makes its data, or what stands for them; see `flowloom_registry.config.build.build`.
        sparing: leave judges and trackers out whose packages are not installed.

    Raises:
        ConfigError: the recipe has problems.
    """
    seed = recipe.tree.get("seed")
    value = getattr(seed, "value", 0)
    torch.manual_seed(derive(value if isinstance(value, int) else 0, "init"))
    built = build(recipe, runs=OtherRuns(recipe, assemble, planned), data=data, sparing=sparing)
    codec = built.get("codec")
    rows, views = built.get("data"), built.get("views") or []
    feed = built.get("feed")
    if feed is None:
        feed = Rows(built["data"], views)
    taken = {name: plan for name, plan in built.plan.sections.items() if isinstance(plan, RunPlan)}
    plan = taken.get("codec")
    if plan is not None and not plan.frozen and not built["objective"].encodes:
        message = f"{type(built['objective']).__name__} trains no codec, so it stays frozen; leave this out"
        raise ConfigError([plan.at.problem("codec.frozen", message)])
    flow = Flow(
        built["model"],
        spec=codec.spec if isinstance(codec, Codec) else feed.spec,
        geometry=built["geometry"],
        source=built["source"],
        coupling=built["coupling"],
        path=built["path"],
        objective=built["objective"],
        guidance=built.get("guidance"),
        solver=built["solver"],
        codec=codec,
        roles=built.get("roles"),
    )
    return Assembly(
        built=built,
        flow=flow,
        feed=feed,
        data=Viewed(rows, views, built.seed) if rows is not None and views else rows,
        metrics=built.get("metrics") or (),
        baselines=_rules(built),
        scores=built.get("scores") or (),
        tasks=built.get("tasks") or (),
        renderer=built.get("renderer"),
        trackers=built.get("trackers") or (),
        train=built.get("train") or TrainConfig(),
        validate=built.get("validate") or ValidateConfig(),
        evaluate=built.get("evaluate") or EvaluateConfig(),
        sample=built.get("sample") or SampleConfig(),
        taken=frozenset(taken),
    )


def _rules(built: Built) -> dict[str, Baseline]:
    """Baselines by the name they give themselves, else that of their row; numbered where two share one."""

    def called(rule: Baseline) -> str:
        plan = built.places.plan_of(rule)
        assert isinstance(plan, ComponentPlan)
        return rule.name or plan.row.name

    rules = built.get("baselines") or ()
    return dict(zip(numbered(map(called, rules), " "), rules, strict=True))


def rows_of(data: Dataset, n: int, seed: int) -> Examples:
    """``n`` rows of a data set in a fixed random order; all of it where ``n`` is not smaller."""
    if n >= len(data):
        return data.all()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(derive(seed, "evaluate")))
    return data.take(order[:n])
