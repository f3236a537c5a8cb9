"""One network call scored part by part."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.layout import Layout
from flowloom.module_names import module_name
from flowloom.objectives.base import PointObjective
from flowloom.paths import Point, ProductPath
from flowloom.sources import Source
from flowloom.state import Cond, State, Time, part
from flowloom.times import TimeLaw


class ProductObjective(PointObjective):
    """An own objective for every part of a product state, over a single network call.

    Args:
        parts: objectives by name of the part; each brings its own path. Their time laws are not used.
        weights: factors of the parts' losses, 1 where absent.
        times: law of the shared t.
        condition_dropout: see `PointObjective`.
    """

    def __init__(
        self,
        parts: Mapping[str, PointObjective],
        weights: Mapping[str, float] | None = None,
        times: TimeLaw | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        strangers = sorted(set(weights or {}) - set(parts))
        if strangers:
            raise IncompatibleError(f"weights name {strangers}; the parts are {sorted(parts)}")
        path = ProductPath({name: objective.path for name, objective in parts.items()})
        super().__init__(path, times, None, condition_dropout)
        self.names = tuple(parts)
        self.scored = nn.ModuleDict({module_name(name): objective for name, objective in parts.items()})
        self.weights = dict(weights or {})

    @property
    def kind(self) -> Kind:
        """Kinds by part."""
        return {name: objective.kind for name, objective in self.parts.items()}

    def compare(self, prediction: State, point: Point, cond: Cond) -> State:
        """Losses of the points of every part."""
        return {
            name: objective.compare(part(prediction, name), point.part(name), cond)
            for name, objective in self.parts.items()
        }

    def rows(self, values: State, t: Time, layout: Layout | None) -> Tensor:
        """Weighted sum of the parts' losses, ``(batch,)``, each averaged over its own entries."""
        total: Tensor | None = None
        for name, objective in self.parts.items():
            own = layout.part(name) if layout is not None else None
            rows = objective.rows(part(values, name), part(t, name), own) * self.weights.get(name, 1.0)
            total = rows if total is None else total + rows
        assert total is not None
        return total

    def quieted(self, prediction: State, point: Point, layout: Layout) -> State:
        """Part by part, as every part's objective wants it."""
        return {
            name: objective.quieted(part(prediction, name), point.part(name), own)
            if (own := layout.part(name)) is not None
            else part(prediction, name)
            for name, objective in self.parts.items()
        }

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network as a field with a kind for every part."""
        return NetworkField(model, self.kind, self.path, source)

    @property
    def parts(self) -> dict[str, PointObjective]:
        """Objectives by name of the part."""
        modules = {name: self.scored[module_name(name)] for name in self.names}
        return {name: module for name, module in modules.items() if isinstance(module, PointObjective)}
