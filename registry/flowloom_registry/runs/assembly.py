"""A built recipe as things that can be run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from flowloom.codecs import Codec
from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.metrics import Metric
from flowloom.renderers import Renderer
from flowloom.scores import Score
from flowloom.seeds import derive
from flowloom.solvers import Solution
from flowloom.spec import Spec
from flowloom.state import Cond, map_state
from flowloom.trackers import Tracker
from flowloom.training import Feed, Rows, TrainConfig
from flowloom.views import Viewed
from flowloom_registry.config.build import Built, build
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.runs.config import EvaluateConfig, SampleConfig, ValidateConfig


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
        scores: judges of the flow.
        renderer: shows samples, where there is one.
        trackers: follow the run.
        train: settings of training.
        validate: settings of looks at held-out data.
        evaluate: settings of evaluation.
        sample: settings of the report's samples.
        fitted: identities of the metrics that were fitted already.
    """

    built: Built
    flow: Flow
    feed: Feed
    data: Dataset | None
    metrics: Sequence[Metric]
    scores: Sequence[Score]
    renderer: Renderer | None
    trackers: Sequence[Tracker]
    train: TrainConfig
    validate: ValidateConfig
    evaluate: EvaluateConfig
    sample: SampleConfig
    fitted: set[int] = field(default_factory=set)

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

    def examples(self) -> Dataset | None:
        """What parts are fitted on: what the feed shows, the data where it shows none."""
        shown = self.feed.examples()
        return self.data if shown is None else shown

    def require_data(self, why: str) -> Dataset:
        """The training split.

        Raises:
            IncompatibleError: the recipe has no data; says ``why`` there must be some.
        """
        if self.data is None:
            raise IncompatibleError(f"{why}, and this recipe has no section 'data:'")
        return self.data

    def held_out(self) -> Dataset | None:
        """The held-out split, None where the data has none."""
        if self.data is None:
            return None
        try:
            return self.data.split(self.evaluate.split)
        except DataError:
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
        return Examples(data.x, {**asked, **{name: data.cond[name] for name in self.flow.objective.invents}})

    def to_ask(self, cond: Cond) -> Cond:
        """Conditions of data without those that the flow makes up by itself."""
        return {name: v for name, v in cond.items() if name not in self.flow.objective.invents}

    def encode(self, examples: Examples, device: torch.device) -> Examples:
        """Data to states, on ``device``."""
        with torch.no_grad(), self.flow.evaluating():
            draws = torch.Generator(device).manual_seed(derive(self.evaluate.seed, "encode"))
            return self.flow.encode(examples.to(device), draws)

    def class_condition(self) -> str | None:
        """Name of the first condition that is a class, None where there is none."""
        for name, condition in self.spec.conditions.items():
            if condition.classes is not None and not condition.shape:
                return name
        return None

    def lengths(self, n: int) -> dict[str, Tensor]:
        """Which entries of ``n`` examples are real, as of held-out ones, where the flow does not say it."""
        sizes = self.to_ask(self._unseen(n).cond) if self.spec.named("real") else {}
        return {name: sizes[name] for name in self.spec.named("real") if name in sizes}

    def conditions_to_show(self, n: int) -> dict[str, Tensor]:
        """Conditions for ``n`` examples: real held-out ones, with classes spread evenly."""
        spec = self.spec
        if not spec.conditions:
            return {}
        cond = dict(self.to_ask(self._unseen(n).cond))
        label = self.class_condition()
        if label is not None and set(spec.conditions) == {label}:
            classes = spec.conditions[label].classes or 1
            cond[label] = torch.arange(n) * classes // n if n >= classes else torch.arange(n)
        return cond

    def _unseen(self, n: int) -> Examples:
        """``n`` held-out examples, training ones where nothing is held out; from the start again if short."""
        source = self.held_out() or self.require_data("conditions come from held-out rows")
        return source.take(torch.arange(n) % len(source))


def assemble(recipe: Recipe) -> Assembly:
    """Build a recipe under its own seed, so that initial weights repeat.

    Raises:
        ConfigError: the recipe has problems.
    """
    seed = recipe.tree.get("seed")
    value = getattr(seed, "value", 0)
    torch.manual_seed(derive(value if isinstance(value, int) else 0, "init"))
    built = build(recipe)
    codec = built.get("codec")
    data, views = built.get("data"), built.get("views") or []
    feed = built.get("feed")
    if feed is None:
        feed = Rows(built["data"], views)
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
        data=Viewed(data, views, built.seed) if data is not None and views else data,
        metrics=built.get("metrics") or (),
        scores=built.get("scores") or (),
        renderer=built.get("renderer"),
        trackers=built.get("trackers") or (),
        train=built.get("train") or TrainConfig(),
        validate=built.get("validate") or ValidateConfig(),
        evaluate=built.get("evaluate") or EvaluateConfig(),
        sample=built.get("sample") or SampleConfig(),
    )


def rows_of(data: Dataset, n: int, seed: int) -> Examples:
    """``n`` rows of a data set in a fixed random order; all of it where ``n`` is not smaller."""
    if n >= len(data):
        return data.all()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(derive(seed, "evaluate")))
    return data.take(order[:n])
