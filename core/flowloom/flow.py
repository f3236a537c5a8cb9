"""A flow: the parts of one experiment in one object that trains, samples and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from flowloom import likelihood
from flowloom.codecs import Codec
from flowloom.couplings import Coupling, Independent
from flowloom.data.base import Dataset, Tensors
from flowloom.errors import IncompatibleError, OffManifoldError, ShapeError
from flowloom.fields import Field
from flowloom.geometry import Euclidean, Geometry
from flowloom.guidance import Guidance
from flowloom.objectives import FlowMatching, Objective
from flowloom.paths import AffinePath, GeodesicPath, Path
from flowloom.solvers import Midpoint, Solution, Solver
from flowloom.solvers.base import Hook
from flowloom.sources import Gaussian, Source, Uniform
from flowloom.spec import Spec
from flowloom.state import State, concat, first_leaf, take, with_batch
from flowloom.training.config import TrainConfig
from flowloom.training.loop import Metrics, Trainer

_ROWS_CHECKED = 2**17
"""Rows of data that are looked at before training on a curved or bounded space, at most."""
_ROWS_AT_ONCE = 1024


@dataclass
class Flow:
    """The parts of a flow, with defaults that fit each other.

    Args:
        model: the network.
        spec: shape and conditions of the data; taken from ``model.spec`` where that exists.
        geometry: the space; Euclidean by default.
        source: law of x0; standard normal on Euclidean space, else uniform on the geometry.
        coupling: pairs x0 with x1; independent by default.
        path: affine on Euclidean space, else geodesic.
        objective: flow matching by default.
        guidance: applied to the field when sampling.
        solver: midpoint with 20 steps by default.
        codec: between data and states.

    >>> import flowloom as fl
    >>> data = fl.data.EightGaussians(1000)
    >>> flow = fl.Flow(fl.models.MLP(data.spec, width=32))
    >>> _ = flow.fit(data, steps=2, batch=32)
    >>> flow.sample(5, label=3).shape
    torch.Size([5, 2])
    """

    model: nn.Module
    spec: Spec | None = None
    geometry: Geometry | None = None
    source: Source | None = None
    coupling: Coupling = field(default_factory=Independent)
    path: Path | None = None
    objective: Objective | None = None
    guidance: Guidance | None = None
    solver: Solver = field(default_factory=lambda: Midpoint(20))
    codec: Codec | None = None

    def __post_init__(self) -> None:
        if self.spec is None:
            self.spec = self.codec.spec if self.codec is not None else getattr(self.model, "spec", None)
        if self.path is None and self.objective is not None:
            self.path = self.objective.path
        if self.geometry is None:
            self.geometry = self.path.geometry if self.path is not None else Euclidean()
        if self.path is None:
            flat = isinstance(self.geometry, Euclidean)
            self.path = AffinePath() if flat else GeodesicPath(self.geometry)
        if self.source is None:
            self.source = Gaussian() if type(self.geometry) is Euclidean else Uniform(self.geometry)
        if self.objective is None:
            self.objective = FlowMatching(self.path)

    @property
    def device(self) -> torch.device:
        """Where the model is; the CPU for one without weights."""
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model in evaluation mode, and afterwards in the mode it was in."""
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    def trainer(
        self, data: Dataset, config: TrainConfig, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> Trainer:
        """A trainer over these parts; the codec is fitted by the caller.

        On a curved or bounded geometry every row of the data is looked at first; of more than 2^17 rows, that
        many, evenly spread (of data that is read from files row by row, 1024).

        Raises:
            OffManifoldError: a row of the data is not on the geometry; says which, and by how much.
        """
        assert self.objective is not None and self.source is not None and self.geometry is not None
        if self.geometry.continuous and type(self.geometry) is not Euclidean:
            _require_on(self.geometry, data, self.codec)
        return Trainer(
            self.model,
            self.objective,
            data,
            self.source,
            self.coupling,
            config,
            seed=seed,
            device=device,
            codec=self.codec,
        )

    def fit(
        self,
        data: Dataset | Tensor,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        on_log: Callable[[Metrics], None] | None = None,
        **settings: Any,
    ) -> list[Metrics]:
        """Train and keep the averaged weights.

        Args:
            data: a data set, or a tensor of states.
            seed: of everything random.
            device: where to train; the model stays there.
            on_log: called with every line of metrics.
            settings: fields of `TrainConfig` (``steps``, ``batch``, ``lr`` ...).

        Returns:
            The logged metrics.
        """
        dataset = Tensors(data) if isinstance(data, Tensor) else data
        self.spec = self.spec or dataset.spec
        if self.codec is not None:
            self.codec.fit(dataset)
        trainer = self.trainer(dataset, TrainConfig(**settings), seed=seed, device=device)
        history = []
        try:
            for metrics in trainer.run():
                history.append(metrics)
                if on_log is not None:
                    on_log(metrics)
        finally:
            trainer.close()
        if trainer.ema is not None:
            trainer.ema.copy_to(self.model)
        return history

    def field(self, guidance: Guidance | None = None) -> Field:
        """The field that the model is, guided where guidance is set."""
        assert self.objective is not None
        std = getattr(self.source, "std", None) if self.source is not None and self.source.gaussian else None
        plain = self.objective.field(self.model, std)
        rule = guidance or self.guidance
        return plain if rule is None else rule(plain)

    def conditions(self, n: int, cond: Mapping[str, Any]) -> dict[str, Tensor]:
        """Conditions for ``n`` rows from plain values.

        A class may be given by number or by name, for all rows or as a list of ``n``; tensors with ``n``
        rows are used as they are.

        Raises:
            ShapeError: an unknown condition or class, or a wrong number of rows; says what is accepted.
        """
        assert self.spec is not None, "the flow has no spec; give spec= or fit it first"
        return {
            name: _condition(self.spec, name, value, n) for name, value in cond.items() if value is not None
        }

    @torch.no_grad()
    def solve(
        self,
        n: int,
        *,
        solver: Solver | None = None,
        guidance: Guidance | None = None,
        seed: int | None = None,
        batch: int | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
        cond: Mapping[str, Any] | None = None,
    ) -> Solution:
        """Draw ``n`` examples and return the solver's account (state, evaluations, trajectory).

        States are not decoded. See `sample` for the arguments; conditions come as a mapping, ``keep`` and
        ``on_step`` go to the solver.
        """
        if n < 1:
            raise ShapeError(f"n must be at least 1, got {n}")
        assert self.spec is not None, "the flow has no spec; give spec= or fit it first"
        assert self.source is not None
        device = self.device
        draws = torch.Generator(device)
        draws.manual_seed(seed) if seed is not None else draws.seed()
        everything = {k: v.to(device) for k, v in self.conditions(n, cond or {}).items()}
        x0 = self.source.sample(
            with_batch(self.spec.event_shape(), n), cond=everything, generator=draws, device=device
        )
        field = self.field(guidance)
        chosen = solver or self.solver
        size = n if batch is None or not field.batch_independent else batch
        with self.evaluating():
            parts = []
            for rows in torch.arange(n, device=device).split(size):
                part = {k: v[rows] for k, v in everything.items()}
                parts.append(
                    chosen.solve(
                        field, take(x0, rows), cond=part, generator=draws, keep=keep, on_step=on_step
                    )
                )
        if len(parts) == 1:
            return parts[0]
        x = concat([p.x for p in parts])
        # Adaptive solvers keep other times in every chunk, so only equal ones can be joined.
        same = len({p.times for p in parts}) == 1
        joined = [concat(list(s)) for s in zip(*(p.trajectory for p in parts), strict=True)] if same else []
        return Solution(x, max(p.nfe for p in parts), parts[0].times if same else (), joined)

    def sample(
        self,
        n: int,
        *,
        solver: Solver | None = None,
        guidance: Guidance | None = None,
        seed: int | None = None,
        batch: int | None = None,
        **cond: Any,
    ) -> State:
        """Draw ``n`` examples of data.

        Args:
            n: how many.
            solver: in place of the flow's own.
            guidance: in place of the flow's own.
            seed: fixes the draw; random where absent.
            batch: rows at a time, to bound memory.
            cond: conditions by name: ``label=3``, ``label="cat"``, ``label=[0, 1, 2]``, or tensors.
        """
        x = self.solve(n, solver=solver, guidance=guidance, seed=seed, batch=batch, cond=cond).x
        with torch.no_grad():
            return self.codec.decode(x) if self.codec is not None else x

    def log_prob(
        self,
        x: State,
        *,
        solver: Solver | None = None,
        divergence: likelihood.Divergence = "exact",
        seed: int = 0,
        **cond: Any,
    ) -> Tensor:
        """Log density in nats of states ``x`` (encoded, where there is a codec), ``(batch,)``.

        Args:
            x: states ``(batch, *event)``.
            solver: an ODE solver in place of the flow's own.
            divergence: ``exact`` or ``hutchinson``.
            seed: of Hutchinson's probe.
            cond: conditions by name.

        Raises:
            IncompatibleError: the source has no density.
            OffManifoldError: a row is not on the geometry; says which, and by how much.
            ShapeError: the batch is empty, or in half precision.
        """
        assert self.source is not None and self.geometry is not None
        if gap := self.source.density_gap:
            raise IncompatibleError(gap)
        if self.geometry.continuous:
            self.geometry.admit(x)
        leaf = first_leaf(x)
        device = leaf.device
        given = {k: v.to(device) for k, v in self.conditions(leaf.shape[0], cond).items()}
        solution = likelihood.log_prob(
            self.field(),
            self.source,
            x,
            solver=solver or self.solver,
            cond=given,
            divergence=divergence,
            generator=torch.Generator(device).manual_seed(seed),
        )
        assert solution.log_prob is not None
        return solution.log_prob


@torch.no_grad()
def _require_on(geometry: Geometry, data: Dataset, codec: Codec | None) -> None:
    """Ask for states on the geometry, a thousand rows at a time; errors name the row of the data set."""
    count = min(len(data), _ROWS_AT_ONCE if getattr(data, "reads_files", False) else _ROWS_CHECKED)
    for rows in (torch.arange(count) * len(data) // max(count, 1)).split(_ROWS_AT_ONCE):
        x = data.take(rows).x
        try:
            geometry.admit(codec.encode(x) if codec is not None else x, "data")
        except OffManifoldError as error:
            raise OffManifoldError(error.name, int(rows[error.row]), error.fault) from None


def _condition(spec: Spec, name: str, value: Any, n: int) -> Tensor:
    condition = spec.conditions.get(name)
    if condition is None and name not in ("mask", "null") and not name.startswith("null_"):
        known = ", ".join(spec.conditions) or "none"
        raise ShapeError(f"unknown condition '{name}'; this flow knows: {known}")
    if isinstance(value, (str, int)) or (
        isinstance(value, (list, tuple)) and value and isinstance(value[0], str)
    ):
        names = condition.names if condition is not None else ()
        words = [value] if isinstance(value, (str, int)) else list(value)
        for word in words:
            if isinstance(word, str) and word not in names:
                raise ShapeError(f"{name} has no class '{word}'; it has: {', '.join(names) or 'no names'}")
        ids = [names.index(w) if isinstance(w, str) else w for w in words]
        value = torch.tensor(ids if len(ids) > 1 else ids * n)
    tensor = torch.as_tensor(value)
    if tensor.ndim == 0:
        tensor = tensor.expand(n)
    if tensor.shape[0] != n:
        raise ShapeError(f"condition '{name}' has {tensor.shape[0]} rows for {n} examples")
    if condition is not None and condition.classes is not None:
        if tensor.is_floating_point():
            raise ShapeError(f"condition '{name}' takes class ids (whole numbers), got {tensor.dtype}")
        low, high = int(tensor.min()), int(tensor.max())
        if low < 0 or high >= condition.classes:
            raise ShapeError(
                f"condition '{name}' = {low if low < 0 else high} is out of range; "
                f"classes are 0 to {condition.classes - 1}"
            )
    return tensor
