"""Product states whose parts move in different ways, over one network call a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flowloom.clashes import Clash, Parts, within
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind
from flowloom.geometry import Euclidean
from flowloom.paths import Path
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.walk import Call
from flowloom.sources import part_of
from flowloom.state import Cond, State, part


class _Fixed(Field):
    """A prediction that was made already, read as a field by a one-stage solver."""

    def __init__(self, value: State, kind: Kind, like: Field, name: str) -> None:
        self.value, self.kind = value, kind
        self.path: Path | None = None if like.path is None else like.path.parts.get(name, like.path)
        self.geometry = self.path.geometry if self.path is not None else Euclidean()
        self.source, self.batch_independent = part_of(like.source, name), like.batch_independent

    def __call__(self, x: State, t: object, cond: Cond) -> State:
        return self.value


class Mixed(FixedGrid):
    """A solver for every part of a product state: positions by Euler steps, types by jumps.

    All parts share the grid and one evaluation of the network a step, so every part's solver must be one
    that looks at the field once a step (euler, euler-maruyama, ctmc-euler).

    Args:
        parts: solvers by name of the part; their own ``steps`` are not used.
        steps: number of equal steps.
        grid: times to walk instead.
    """

    order = 1

    def __init__(
        self, parts: Mapping[str, FixedGrid], steps: int = 50, grid: Sequence[float] | None = None
    ) -> None:
        super().__init__(steps, grid)
        self.parts = dict(parts)
        for name, solver in self.parts.items():
            if not isinstance(solver, FixedGrid) or solver.evaluations_per_step > 1:
                raise IncompatibleError(
                    f"part '{name}': {type(solver).__name__} looks at the field more than once a step; "
                    "use euler, euler-maruyama, or ctmc-euler without corrector steps"
                )
        self.stochastic = any(s.stochastic for s in self.parts.values())  # type: ignore[misc]

    def wanted(self) -> Kind:
        """Kinds by part."""
        return {name: solver.wanted() for name, solver in self.parts.items()}

    def prepare(self, field: Field) -> Field:
        """The field itself; parts are converted as they are read."""
        if isinstance(field.kind, dict) and field.kind.keys() != self.parts.keys():
            raise IncompatibleError(
                f"this solver has the parts {sorted(self.parts)}, the field has {sorted(field.kind)}"
            )
        return field

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One network evaluation, then every part's own step."""
        assert isinstance(x, dict)
        output, field = call(x, t), call.field
        layout = call.layout
        moved: dict[str, State] = {}
        for name, solver in self.parts.items():
            fixed = _Fixed(part(output, name), part(field.kind, name), field, name)
            own = None if layout is None else layout.part(name)
            inner = Call(solver.prepare(fixed), call.cond, call.generator, own)
            moved[name] = solver.step(inner, x[name], t, t_next, last=last)
        return moved

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """What every part's own solver says of its part."""
        objective = parts.get("objective")
        if objective is None or isinstance(objective.kind, str):
            yield from super().clashes(parts)
            return
        for name, solver in self.parts.items():
            yield from solver.clashes(within(parts, name))
