"""The objective contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import drop, require_dropout
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError, TrainingError
from flowloom.fields import Field, Kind
from flowloom.layout import Layout, mean_of_entries
from flowloom.paths import Path, Point
from flowloom.sources import Source
from flowloom.spec import Condition, Spec
from flowloom.state import Cond, State, Time, batch_size, expand, part
from flowloom.times import TimeLaw, Uniform
from flowloom.weights import Weight

if TYPE_CHECKING:
    from flowloom.flow import Flow


@dataclass(frozen=True)
class Batch:
    """Coupled ends with the conditions of x1, as the data side hands them to the objective.

    Args:
        x0: source states ``(batch, *event)``.
        x1: data states ``(batch, *event)``; the data themselves for an objective that encodes.
        cond: conditions of x1, never withheld here.
        layout: which entries are real and which given; None for all and none.
    """

    x0: State
    x1: State
    cond: Cond = field(default_factory=dict)
    layout: Layout | None = None

    def point(self, path: Path, t: Time, generator: torch.Generator | None = None) -> Point:
        """The points of ``path`` between both ends at times ``t``: padding filled, given entries at x1.

        Args:
            path: where they lie.
            t: times, as `Path.sample` takes them.
            generator: for paths that draw.
        """
        if self.layout is None:
            return path.sample(self.x0, self.x1, t, generator=generator)
        x0, x1 = self.layout.fill(self.x0), self.layout.fill(self.x1)
        return path.sample(x0, x1, t, generator=generator).held(self.layout)


@dataclass(frozen=True)
class Loss:
    """What to descend, and detached scalars to log.

    Args:
        total: a scalar with gradient, or several by name, which ``train.combine`` makes one descent of.
        parts: named scalars.
    """

    total: Tensor | Mapping[str, Tensor]
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """Where training stands when a loss is taken: curricula need no counter of their own.

    Args:
        number: of this step, counted from 0.
        of: steps in all.
        generator: of everything random in the loss.
        average: gives the averaged flow; see `averaged`.
    """

    number: int = 0
    of: int = 1
    generator: torch.Generator | None = None
    average: Callable[[], Flow] | None = None

    @property
    def progress(self) -> float:
        """Share of the training that is done, in ``[0, 1)``."""
        return self.number / max(1, self.of)

    @property
    def averaged(self) -> Flow:
        """The flow with its averaged weights (``train.ema``), frozen and in evaluation mode: a teacher.

        Its buffers are those of the flow itself.

        Raises:
            TrainingError: nothing is averaged, or this is no step of a trainer.
        """
        if self.average is None:
            raise TrainingError("this objective needs averaged weights; set train.ema, say to 0.999")
        return self.average()


@dataclass(frozen=True)
class Turn:
    """One player's move within a step: a loss, and the parameters that its gradient reaches.

    Args:
        name: for the log, and for ``train.turns``.
        loss: of a batch.
        parameters: by their names in the flow, see `flowloom.Flow.trainable`. Only these move.
        repeat: moves a step; repeat r of every turn sees the r-th batch of the step.
        after: first step in which the turn takes place.
    """

    name: str
    loss: Callable[[Batch, Step], Loss]
    parameters: Mapping[str, nn.Parameter]
    repeat: int = 1
    after: int = 0

    def __post_init__(self) -> None:
        if self.repeat < 1 or self.after < 0:
            raise ValueError(f"turn '{self.name}': repeat must be at least 1 and after not negative")


_LATEST = 0.9
"""Share of the way that training has to see: solvers walk all of it."""


class Objective(nn.Module, ABC):
    """Scores a model on coupled ends, and says what the trained model is.

    An objective is a module of the flow: what it holds (a critic, a queue, an inner teacher) is moved,
    checkpointed and saved with the rest. Its parameters are trained where they want gradients, by the turn
    that names them.

    Attributes:
        path: where its points come from.
        generates: False where nothing is sampled afterwards (an autoencoder, a classifier, a judge).
        encodes: True where it encodes the data itself. Batches then hold data, and gradients reach the
            codec, which is frozen in every other flow.
        also: kinds that its field can be read as by itself, besides what the path converts: a flow map is a
            velocity too.
        invents: conditions that the trained flow makes up by itself where they are not given (the length of
            an utterance); see `complete`. A flow is judged with those that it made up.
        tells: conditions of its own (see `conditions`) that its field or solver tells the network at every
            call, a second time say: nobody gives them when sampling.
        reads: conditions that it reads by itself, whether its network does or not.
        averages: True where its loss asks for the averaged flow (`Step.averaged`): a training without
            averages is then refused before it begins.
        compiles: False where ``torch.compile`` cannot take the gradient of the loss as a whole, as the loss
            has derivatives inside that gradients go through.
    """

    path: Path
    generates: bool = True
    encodes: bool = False
    also: tuple[str, ...] = ()
    invents: tuple[str, ...] = ()
    tells: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    averages: bool = False
    compiles: bool = True

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The loss of ``model`` on ``batch``; all randomness comes from ``step.generator``."""

    def require_generates(self) -> None:
        """Refuse to draw from what was trained for something else.

        Raises:
            IncompatibleError: nothing is sampled from such a flow.
        """
        if not self.generates:
            raise IncompatibleError(
                f"the run generates nothing that could be drawn: its objective is {type(self).__name__}"
            )

    def withholds(self, names: frozenset[str], every: frozenset[str]) -> bool:
        """Whether training withheld just these conditions from some rows, and told them the rest.

        Args:
            names: that are withheld together.
            every: condition that informs the network.
        """
        rate = getattr(self, "condition_dropout", None)
        return rate is None or (rate > 0 and names == every)

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """The moves of one training step, in order; by default one, of everything that is trainable."""

        def loss(batch: Batch, step: Step) -> Loss:
            return self.loss(flow.model, batch, step)

        return (Turn("main", loss, flow.trainable()),)

    def conditions(self) -> Mapping[str, Condition]:
        """Conditions of its own (a second time, a guidance scale): the model's spec needs them as well."""
        return {}

    def complete(self, cond: Cond, n: int, generator: torch.Generator | None = None) -> Cond:
        """Conditions with those of `invents` that are not given made up; all as they are by default.

        Args:
            cond: conditions of states that are given, of ``n`` rows.
            n: number of rows.
            generator: of everything drawn.
        """
        return cond

    @abstractmethod
    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The field that the trained ``model`` is.

        Args:
            model: the network.
            source: the law of x0; scores need it.
        """

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """Kind of the field, known before any model exists."""

    def serves(self, wanted: Kind, source: Source | None = None) -> bool:
        """Whether its field can be read as ``wanted``, where x0 comes from ``source``."""
        path = getattr(self, "path", None)
        return (
            wanted == self.kind
            or wanted in self.also
            or (path is not None and path.converts(self.kind, wanted, source))
        )

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """What of ``parts`` this objective cannot work with; see `flowloom.clashes`."""
        return ()


def dropout_clashes(rate: float, parts: Parts) -> Iterable[Clash]:
    """What an objective that withholds conditions, with probability ``rate``, cannot work with."""
    spec, model = parts.get("spec"), parts.get("model")
    if rate and isinstance(spec, Spec) and not spec.conditions:
        yield Clash(
            "objective", "data", "condition_dropout is set, but the data has no conditions to withhold"
        )
    if rate and model is not None and not getattr(model, "conditional", False):
        yield Clash(
            "objective",
            "model",
            "condition_dropout needs a model that can be withheld conditions, and "
            f"{type(model).__name__} does not say so (conditional = True)",
        )


@dataclass(frozen=True)
class Asked:
    """One network call at points of the path.

    Args:
        prediction: of the network, as `PointObjective.quieted` leaves it in padding and at given entries.
        point: where it was asked.
        cond: conditions as it saw them, some of them withheld.
    """

    prediction: State
    point: Point
    cond: Cond


class PointObjective(Objective):
    """Objectives that score one network call at one point of the path.

    Args:
        path: where the points come from.
        times: law of t.
        weight: per-time weight.
        condition_dropout: probability with which all conditions are withheld from a row, drawn per row
            (classifier-free guidance, 2207.12598).
    """

    def __init__(
        self,
        path: Path,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_dropout(condition_dropout)
        self.path, self.times, self.weight = path, times or Uniform(), weight
        self.condition_dropout = condition_dropout

    @abstractmethod
    def compare(self, prediction: State, point: Point, cond: Cond) -> State:
        """Loss of every point, ``(batch, *points)``; for a product state, one such tensor a part.

        Args:
            prediction: of the network, as `quieted` leaves it in padding and at given entries.
            point: where it was asked, on the path.
            cond: conditions, some of them withheld.
        """

    def quieted(self, prediction: State, point: Point, layout: Layout) -> State:
        """A prediction with what the network says of padding and given entries taken out, gradient too.

        Args:
            prediction: as the network gave it.
            point: where it was asked.
            layout: of the batch.
        """
        quiet: State = layout.still(prediction)
        return quiet

    def rows(self, values: State, t: Time, layout: Layout | None) -> Tensor:
        """Loss of every row, ``(batch,)``: weighted by time, then averaged over real and free entries.

        Args:
            values: losses of points, as `compare` gives them.
            t: times ``(batch,)``, or one for every point ``(batch, *points)``.
            layout: of the batch; None where every entry is real and free.

        Raises:
            ShapeError: there are times of points, and they are not those of ``values``.
        """
        if isinstance(values, dict):
            rows = [
                self.rows(v, part(t, k), layout.part(k) if layout is not None else None)
                for k, v in values.items()
            ]
            return torch.stack(rows).mean(0)
        assert isinstance(t, Tensor)
        free = layout.free if layout is not None else None
        if self.weight is None:
            return mean_of_entries(values, free)
        weight = self.weight(t)
        if weight.ndim == 1:
            return mean_of_entries(values, free) * weight
        if weight.shape != values.shape[: weight.ndim]:
            raise ShapeError(
                f"times of shape {tuple(weight.shape)} do not fit losses of {tuple(values.shape)}: a row has "
                "one, or every point its own"
            )
        return mean_of_entries(values * expand(weight, values), free)

    def ask(self, model: nn.Module, batch: Batch, step: Step) -> Asked:
        """Draw t and x_t, and call the model once: what objectives that see a whole batch begin with."""
        n, generator = batch_size(batch.x1), step.generator
        t = self.times.sample(n, Draw.like(batch.x1, generator))
        layout, point = batch.layout, batch.point(self.path, t, generator)
        cond = drop(batch.cond, self.condition_dropout, n, generator)
        prediction = model(point.x_t, t, **cond)
        if layout is not None:
            prediction = self.quieted(prediction, point, layout)
        return Asked(prediction, point, cond)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Draw t and x_t, call the model once, compare."""
        asked = self.ask(model, batch, step)
        values = self.compare(asked.prediction, asked.point, asked.cond)
        return Loss(self.rows(values, asked.point.t, batch.layout).mean())

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Conditions to withhold that the data lacks or the network needs; times that are not the path's."""
        yield from self._untimely()
        if self.path is not parts.get("path"):  # one of its own
            for clash in self.path.clashes(parts):
                yield replace(clash, first="objective")
        yield from dropout_clashes(self.condition_dropout, parts)

    def _untimely(self) -> Iterable[Clash]:
        low, high = sorted(self.path.span)
        first, last = self.times.support
        if (low, high) != (first, last):
            yield Clash(
                "objective",
                "path",
                f"{type(self.times).__name__} draws times in [{first:g}, {last:g}], and those of "
                f"{type(self.path).__name__} lie in [{low:g}, {high:g}]; give times: of a law on that span",
            )
        if self.times.latest < _LATEST:
            yield Clash(
                "objective",
                "times",
                f"{type(self.times).__name__} stops at {self.times.latest:g} of the way, and the rest is "
                f"never learned; give latest: {_LATEST:g} or more",
            )
