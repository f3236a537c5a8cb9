"""A flow: the parts of one experiment in one module that trains, samples and scores."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from flowloom import defaults, likelihood
from flowloom.codecs import Codec
from flowloom.conditioning import conditions_for
from flowloom.conditions import is_null
from flowloom.couplings import Coupling, Independent
from flowloom.data.base import Dataset, Examples, Tensors
from flowloom.data.looked_at import require_rows
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field
from flowloom.geometry import Geometry
from flowloom.guidance import Guidance
from flowloom.layout import Layout
from flowloom.models.half import InHalf, half_of
from flowloom.objectives import Objective
from flowloom.parts import modules_outside, set_mode
from flowloom.paths import Path
from flowloom.seeds import derive
from flowloom.solvers import Solution, Solver
from flowloom.solvers.walk import Hook
from flowloom.sources import Source
from flowloom.spec import Condition, Spec
from flowloom.state import Cond, State, concat, first_leaf, leaves, shape_of, take, with_batch
from flowloom.training.config import TrainConfig
from flowloom.training.feeds import Feed, Rows
from flowloom.training.loop import Metrics, Trainer

__all__ = ["Flow"]

_FITTED = ("codec", "coupling", "source", "path", "model", "objective", "guidance", "solver")


class Flow(nn.Module):
    """The parts of a flow, with defaults that fit each other, as one module.

    Whatever learns or is fitted is a parameter or buffer of this module, under the name of its section
    (``model.out.weight``, ``source.shift``), and there is one rule each for moving, averaging, checkpointing,
    saving, restoring and freezing. A part that two others share stands in the tree once.

    Args:
        model: the network.
        spec: shape and conditions of the states; from the codec or ``model.spec`` where left out, else from
            the data when it is fitted.
        geometry: the space; the path's, or what the spec describes (flat for numbers, discrete for tokens).
        source: law of x0; it, path, objective and solver are chosen by the geometry (`flowloom.defaults`).
        coupling: pairs x0 with x1; independent by default.
        path: from x0 to x1.
        objective: the loss.
        guidance: applied to the field when sampling.
        solver: integrates the field.
        codec: between data and states; frozen, unless the objective encodes by itself.
        roles: further networks by name (a teacher, a critic).

    Raises:
        IncompatibleError: the model is no module, or a part that is none holds a network, which would neither
            move nor be saved.

    >>> import flowloom as fl
    >>> data = fl.data.EightGaussians(1000)
    >>> flow = fl.Flow(fl.models.MLP(data.spec, width=32))
    >>> _ = flow.fit(data, steps=2, batch=32)
    >>> flow.sample(5, label=3).shape
    torch.Size([5, 2])
    """

    model: nn.Module
    geometry: Geometry
    source: Source
    coupling: Coupling
    path: Path
    objective: Objective
    guidance: Guidance | None
    solver: Solver
    codec: Codec | None
    roles: nn.ModuleDict

    def __init__(
        self,
        model: nn.Module,
        spec: Spec | None = None,
        geometry: Geometry | None = None,
        source: Source | None = None,
        coupling: Coupling | None = None,
        path: Path | None = None,
        objective: Objective | None = None,
        guidance: Guidance | None = None,
        solver: Solver | None = None,
        codec: Codec | None = None,
        roles: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise IncompatibleError(
                f"{type(model).__name__} is no torch.nn.Module, so its weights would neither learn, move "
                "nor be saved; derive the model from torch.nn.Module"
            )
        if path is None and objective is not None:
            path = getattr(objective, "path", None)
        if geometry is None:
            known = spec or (codec.spec if codec is not None else getattr(model, "spec", None))
            geometry = path.geometry if path is not None else defaults.geometry(known)
        # In this order, which decides under which name a shared part is saved.
        self.model = model
        self.geometry = geometry
        self.source = source or defaults.source(geometry)
        self.coupling = coupling or Independent()
        self.path = path or defaults.path(geometry, self.source)
        self.codec = codec
        self.roles = _Roles(dict(roles or {}))
        self.objective = objective or defaults.objective(self.path)
        self.guidance = guidance
        self.solver = solver or defaults.solver(geometry)
        self._spec = spec or (codec.spec if codec is not None else getattr(model, "spec", None))
        self._modes = _Modes()
        if codec is not None and not self.objective.encodes:
            codec.requires_grad_(False)
        # Spaces hold constants of other libraries as modules; nothing in them learns.
        others = {name: part for name, part in self.parts().items() if name != "geometry"}
        for name, attribute in modules_outside(self, others):
            raise IncompatibleError(
                f"{name} {type(getattr(self, name)).__name__} holds a network in '{attribute}' and is no "
                "torch.nn.Module: it would neither be moved nor saved; derive it from nn.Module as well"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        # A part may be replaced by one that is no module.
        if not isinstance(value, nn.Module) and name in self.__dict__.get("_modules", {}):
            del self._modules[name]
        super().__setattr__(name, value)

    @property
    def spec(self) -> Spec:
        """Shape and conditions of the states.

        Raises:
            ShapeError: neither the flow nor its model or codec was given one.
        """
        if self._spec is None:
            raise ShapeError("the flow does not know the shape of its states; give it spec=, or fit it first")
        return self._spec

    @property
    def device(self) -> torch.device:
        """Where the flow is; the CPU for one without any tensor."""
        return next((t.device for t in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """What states are drawn in: float64 where the model is, else single precision."""
        double = any(p.dtype == torch.float64 for p in self.model.parameters())
        return torch.float64 if double else torch.get_default_dtype()

    def parts(self) -> dict[str, object]:
        """Parts by the name of their section; those that it lacks are left out."""
        names = (
            "model",
            "geometry",
            "source",
            "coupling",
            "path",
            "codec",
            "objective",
            "guidance",
            "solver",
        )
        found = {name: getattr(self, name) for name in names}
        return {name: part for name, part in found.items() if part is not None}

    def trainable(self, pattern: str = "*") -> dict[str, nn.Parameter]:
        """Parameters that want gradients by name, each once, whose name fits ``pattern`` (``source.*``)."""
        named = self.named_parameters()
        return {n: p for n, p in named if p.requires_grad and fnmatchcase(n, pattern)}

    def train(self, mode: bool = True) -> Flow:
        """Training mode; parts whose parameters are all frozen stay in evaluation mode."""
        set_mode(self, mode)
        return self

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Everything in evaluation mode, then in the mode it was in; several threads may be inside."""
        self._modes.enter(self)
        try:
            yield
        finally:
            self._modes.leave()

    def fit_parts(self, data: Dataset | None, *, seed: int = 0, without: Collection[str] = ()) -> list[str]:
        """Call ``fit(data, flow, generator)`` of every part that has one, once, before training.

        Every part gets a generator of its own, and the global one is left as it was found.

        Args:
            data: training rows, where there are any.
            seed: of everything random.
            without: names of parts that were fitted before, in another run.

        Returns:
            Names of the parts that were fitted.
        """
        fitted: list[str] = []
        done: set[int] = set()
        for name in _FITTED:
            part = self.parts().get(name)
            fit = getattr(part, "fit", None)
            if fit is None or id(part) in done or name in without:
                continue
            done.add(id(part))
            where = derive(seed, f"fit/{name}")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(where)
                fit(data, self, torch.Generator().manual_seed(where))
            fitted.append(name)
        if self.codec is not None and not self.objective.encodes:
            self.codec.requires_grad_(False)
        return fitted

    def trainer(
        self,
        data: Dataset | Feed,
        config: TrainConfig,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> Trainer:
        """A trainer over these parts; what is fitted is fitted by the caller (`fit_parts`).

        Rows of a data set are looked at first: of more than 2^17, that many, evenly spread (of data that is
        read from files row by row, 1024).

        Args:
            data: rows, or any other feed.
            config: settings.
            seed: of everything random.
            device: where to train; the flow is moved there.

        Raises:
            IncompatibleError: the source starts at a condition that informs the network, or guidance
                withholds one that is not there, or the objective holds an optimiser of its own.
            OffManifoldError: a row of the data is not on the geometry; says which, and by how much.
            DataError: a row holds what its spec forbids; says which.
        """
        feed = Rows(data) if isinstance(data, Dataset) else data
        self._spec = self._spec or feed.spec
        self._require_starts()
        self._require_guided(self.guidance)
        self._require_turns()
        self.to(device)
        examples = feed.examples()
        if examples is not None and config.steps and not self.objective.encodes:
            require_rows(examples, self)
        return Trainer(self, feed, config, seed=seed, device=device)

    def _informing(self) -> tuple[str, ...]:
        unread = set(getattr(self.model, "ignored", ())) - set(self.objective.reads)
        every = self.spec.plus(self.objective.conditions()).named("inform")
        return tuple(name for name in every if name not in unread)

    def _require_guided(self, rule: Guidance | None) -> None:
        for name in getattr(rule, "conditions", ()):
            if name not in self._informing():
                raise IncompatibleError(
                    f"guidance withholds the condition '{name}', and no such condition informs the network; "
                    f"there are: {', '.join(self._informing()) or 'none'}"
                )

    def missing(self, cond: Cond) -> tuple[str, ...]:
        """Conditions that ``cond`` leaves out and training never withheld together: of no law it learned."""
        if not getattr(self.model, "conditional", False) or any(map(is_null, cond)):
            return ()
        every = self._informing()
        missing = tuple(name for name in every if name not in cond)
        told = not missing or self.objective.withholds(frozenset(missing), frozenset(every))
        return () if told else missing

    def never_withheld(self, missing: Sequence[str]) -> str:
        """What to say of what is `missing`: that training never withheld it, or never without the rest."""
        every = self._informing()
        all_of_it = self.objective.withholds(frozenset(every), frozenset(every))
        alone = " without the rest" if all_of_it and len(missing) < len(every) else ""
        return f"no {', '.join(missing)} given, which training never withheld{alone}"

    def _warn_of_missing(self, cond: Cond, above: int = 0) -> None:
        """Blames whoever called the method, ``above`` frames of decorators further up."""
        missing = self.missing(cond)
        if missing:
            warnings.warn(
                f"{self.never_withheld(missing)}: the answers are of no law that was learned; give it, or "
                "train with objective.condition_dropout",
                stacklevel=3 + above,
            )

    def _require_turns(self) -> None:
        for module in self.objective.modules():
            for name, value in vars(module).items():
                if isinstance(value, torch.optim.Optimizer):
                    raise IncompatibleError(
                        f"the objective holds an optimiser of its own in '{name}': no checkpoint would keep "
                        "it, and the flow's would move its parameters too; name a Turn for them in turns()"
                    )

    def _require_starts(self) -> None:
        for name in self.source.reads:
            condition = self.spec.conditions.get(name)
            if condition is not None and condition.role != "start":
                raise IncompatibleError(
                    f"the source starts at the condition '{name}', whose role is {condition.role}: the "
                    "network would be told where it starts; give it the role start (in Python: "
                    f"Tensors(..., roles={{'{name}': 'start'}}))"
                )

    def fit(
        self,
        data: Dataset | Tensor | Feed,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        on_log: Callable[[Metrics], None] | None = None,
        **settings: Any,
    ) -> list[Metrics]:
        """Fit what is fitted, train, and keep the averaged weights.

        Args:
            data: a data set, a tensor of states, or another feed.
            seed: of everything random.
            device: where to train; the flow stays there.
            on_log: called with every line of metrics.
            settings: fields of `TrainConfig` (``steps``, ``batch``, ``lr`` ...).

        Returns:
            The logged metrics.
        """
        rows = Tensors(data) if isinstance(data, Tensor) else data
        self._spec = self._spec or rows.spec
        self.to(device)
        self.fit_parts(rows if isinstance(rows, Dataset) else rows.examples(), seed=seed)
        trainer = self.trainer(rows, TrainConfig(**settings), seed=seed, device=device)
        history = []
        try:
            for metrics in trainer.run():
                history.append(metrics)
                if on_log is not None:
                    on_log(metrics)
        finally:
            trainer.close()
            self.eval()
        if trainer.ema is not None:
            trainer.ema.copy_to_live()
        return history

    def formed(self, examples: Examples) -> Examples:
        """Data with reals in the flow's precision, ids as int64, whatever files hold them as."""

        def real(leaf: Tensor) -> Tensor:
            return leaf.to(self.dtype) if leaf.is_floating_point() else leaf

        spec = self.spec if self.codec is None else self.codec.data_spec
        cond = {name: real(value) for name, value in examples.cond.items()}
        for name, condition in spec.conditions.items():
            if condition.classes is not None and name in cond:
                cond[name] = cond[name].long()
        return replace(examples, x=_formed(examples.x, spec, real), cond=cond)

    def _given(self, x: State) -> State:
        """States that somebody hands over, in the precision of the network's weights.

        Raises:
            ShapeError: they have no leading dimension of rows.
        """
        for (name, leaf), (_, part) in zip(leaves(x), self.spec.leaves(), strict=False):
            if leaf.ndim != len(part.shape) + 1:
                of = f" of part '{name}'" if name else ""
                wanted = ", ".join(("rows", *map(str, part.shape)))
                raise ShapeError(f"states{of} have the shape ({wanted}), got {tuple(leaf.shape)}")
        double = all(p.dtype != torch.float32 for p in self.model.parameters())

        def real(leaf: Tensor) -> Tensor:
            return leaf if leaf.is_floating_point() and (double or leaf.itemsize < 8) else leaf.to(self.dtype)

        state: State = _formed(x, self.spec, real)
        return state

    def encode(self, examples: Examples, generator: torch.Generator | None = None) -> Examples:
        """Data as states, `formed`; that is all where there is no codec. Padding reaches no codec."""
        examples = self.formed(examples)
        if self.codec is None:
            return examples
        layout = Layout.of(self.codec.data_spec, examples.cond)
        if layout is not None:
            examples = replace(examples, x=layout.fill(examples.x))
        return self.codec.encode(examples, generator)

    def decode(self, states: Examples) -> Examples:
        """States as data; the same where there is no codec."""
        return states if self.codec is None else self.codec.decode(states)

    def noise_for(self, states: Examples, generator: torch.Generator | None = None) -> State:
        """x0 for the rows of ``states``, as `Source.noise` draws it: in their shape, dtype and place."""
        x0: State = self.source.noise(shape_of(states.x), Draw.like(states.x, generator), cond=states.cond)
        return self._encoded(x0, states, generator)

    def start_for(self, states: Examples, generator: torch.Generator | None = None) -> State:
        """Where a solve of those rows begins: their noise (`noise_for`), pushed by a source that learns."""
        x0: State = self.source.push(self.noise_for(states, generator), states.cond)
        return x0

    def _encoded(self, x0: State, beside: Examples, generator: torch.Generator | None) -> State:
        """Draws of a source that are data (another data set's rows) become states as all data do."""
        if self.codec is None or not self.source.gives_data:
            return x0
        return self.encode(Examples(x0, beside.cond), generator).x

    def _with_states(self, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        """Conditions of data as conditions of states; what stands at given entries is encoded as data are."""
        if self.codec is None:
            return cond
        said = Layout.of(self.codec.data_spec, cond)
        cond = dict(self.codec.encode_conditions(cond))
        if said is None or not isinstance(said.values, Tensor):
            return cond
        # Only given entries have values; anything may stand elsewhere.
        known = Layout(real=said.given).fill(said.values)
        with self.evaluating():
            states = self.codec.encode(Examples(known)).x
        return cond | {name: states for name in self.spec.named("values") if isinstance(states, Tensor)}

    def field(self, guidance: Guidance | None = None) -> Field:
        """The field that the model is, guided where guidance is set."""
        half = half_of(self.model)
        plain = self.objective.field(self.model, self.source) if half is None else self._in_half(half)
        rule = guidance or self.guidance
        if self._spec is not None:
            plain.informs, plain.spec = self._informing(), self.spec
            self._require_guided(rule)
        return plain if rule is None else rule(plain)

    def _in_half(self, half: torch.dtype) -> Field:
        try:
            return self.objective.field(InHalf(self.model, half), self.source)
        except IncompatibleError as error:
            self.objective.field(
                self.model, self.source
            )  # what is wrong without halves, too, is said by itself
            raise IncompatibleError(
                f"{type(self.objective).__name__} asks {type(self.model).__name__} for more than its answer, "
                f"which takes weights of float32 or wider; they are {str(half).removeprefix('torch.')}"
            ) from error

    def layout(self, cond: Cond) -> Layout | None:
        """What conditions say is real and given; None where they say nothing."""
        return Layout.of(self.spec.plus(self.objective.conditions()), cond)

    def known_conditions(self) -> dict[str, Condition]:
        """Every condition that may be given when sampling: the data's, and those of the objective's own that
        it does not tell the network by itself (`flowloom.objectives.Objective.tells`).
        """
        spec, objective = self.spec if self.codec is None else self.codec.data_spec, self.objective
        own = {name: one for name, one in objective.conditions().items() if name not in objective.tells}
        return {**spec.conditions, **own}

    def conditions(self, n: int, cond: Mapping[str, Any]) -> dict[str, Tensor]:
        """Conditions for ``n`` rows from plain values; see `flowloom.conditioning.conditions_for`.

        Raises:
            ShapeError: an unknown condition or class, or a wrong number of rows; says what is accepted.
        """
        return conditions_for(self.known_conditions(), n, cond)

    @torch.no_grad()
    def solve(
        self,
        n: int | None = None,
        *,
        x0: State | None = None,
        span: tuple[float, float] | None = None,
        source: Source | None = None,
        solver: Solver | None = None,
        guidance: Guidance | None = None,
        seed: int | None = None,
        batch: int | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
        cond: Mapping[str, Any] | None = None,
        layout: Layout | None = None,
    ) -> Solution:
        """Draw ``n`` examples and return the solver's account (state, evaluations, trajectory, conditions).

        States are not decoded.

        Args:
            n: how many; the rows of ``x0`` where that is given.
            x0: states to start from at ``span[0]``, in place of draws of the source.
            span: times to walk between; from source to data where left out.
            source: in place of the flow's own.
            solver: in place of the flow's own.
            guidance: in place of the flow's own.
            seed: fixes the draw; random where absent.
            batch: rows at a time, to bound memory.
            keep: states of the trajectory to keep.
            on_step: called with state and time after every step; see `Solver.solve`.
            cond: conditions by name.
            layout: what is real and what is given, in place of what the conditions say of it.
        """
        n = _count(n, x0)
        x0 = None if x0 is None else self._given(x0)
        if batch is not None and batch < 1:
            raise ShapeError(f"batch must be at least 1, got {batch}")
        if seed is not None and not -(2**63) <= seed < 2**64:
            raise ShapeError(f"seed {seed} is too large for a generator of 64 bits")
        device, law = self.device, source or self.source
        draws = torch.Generator(device)
        draws.manual_seed(seed) if seed is not None else draws.seed()
        everything = self._with_states({k: v.to(device) for k, v in self.conditions(n, cond or {}).items()})
        with self.evaluating():
            everything = dict(self.objective.complete(everything, n, draws))
        self._warn_of_missing(everything, 1)
        if x0 is None:
            shape = with_batch(self.spec.event_shape(), n)
            noise = law.noise(shape, Draw(draws, device=device, dtype=self.dtype), cond=everything)
            x0 = self._given(law.push(noise, everything))
            if law.gives_data and self.codec is not None:
                x0 = self.encode(Examples(x0, everything), draws).x
        layout = self.layout(everything) if layout is None else layout.to(device)
        field = self.field(guidance)
        if source is not None:
            field.source = source
        chosen = solver or self.solver
        size = n if batch is None or not field.batch_independent else batch
        with self.evaluating():
            parts = []
            for rows in torch.arange(n, device=device).split(size):
                part = {k: v[rows] for k, v in everything.items()}
                parts.append(
                    chosen.solve(
                        field,
                        take(x0, rows),
                        cond=part,
                        span=span,
                        generator=draws,
                        keep=keep,
                        on_step=on_step,
                        layout=None if layout is None else layout.take(rows),
                    )
                )
        return _joined(parts)

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
        solution = self.solve(n, solver=solver, guidance=guidance, seed=seed, batch=batch, cond=cond)
        with torch.no_grad(), self.evaluating():
            return self.decode(Examples(solution.x, solution.cond)).x

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
        field = self.field()
        if not field.has_density and (gap := self.source.density_gap):
            raise IncompatibleError(gap)
        x = self._given(x)
        leaf = first_leaf(x)
        device = leaf.device
        given = {k: v.to(device) for k, v in self.conditions(leaf.shape[0], cond).items()}
        self._warn_of_missing(given)
        layout = self.layout(given)
        if layout is not None:
            x = layout.fill(x)
        if self.geometry.continuous:
            self.geometry.admit(x)
        with self.evaluating():
            if field.has_density:
                return field.log_prob(x, given, layout)
            solution = likelihood.log_prob(
                field,
                self.source,
                x,
                solver=solver or self.solver,
                cond=given,
                divergence=divergence,
                generator=torch.Generator(device).manual_seed(seed),
                layout=layout,
            )
        assert solution.log_prob is not None
        return solution.log_prob


def _formed(x: Any, spec: Spec | None, real: Callable[[Tensor], Tensor]) -> Any:
    """Ids of tokens as int64, and ``real`` of the rest."""
    if isinstance(x, dict):
        parts = {} if spec is None else spec.parts
        return {name: _formed(leaf, parts.get(name), real) for name, leaf in x.items()}
    if spec is not None and spec.vocab is not None and not x.is_floating_point():
        return x.long()
    return real(x)


class _Roles(nn.ModuleDict):
    """Further networks by name; one that is not there is asked for in one line."""

    def __getitem__(self, name: str) -> nn.Module:
        if name not in self:
            have = ", ".join(self) or "none"
            raise IncompatibleError(
                f"a network is asked for in the role '{name}'; roles that the flow has: {have}; "
                f"add one, as roles: {{{name}: {{use: mlp}}}} in a recipe "
                f"or Flow(..., roles={{'{name}': network}})"
            )
        return super().__getitem__(name)


class _Modes:
    """Which modules were in training mode when the first of several threads wanted evaluation."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._awake: list[nn.Module] = []

    def __reduce__(self) -> tuple[type[_Modes], tuple[()]]:
        # A copy of a flow has modes of its own, and a lock cannot be copied.
        return _Modes, ()

    def enter(self, flow: Flow) -> None:
        with self._lock:
            if self._inside == 0:
                self._awake = [m for m in flow.modules() if m.training]
                for module in self._awake:
                    module.training = False
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for module in self._awake:
                    module.training = True
                self._awake = []


def _count(n: int | None, x0: State | None) -> int:
    rows = None if x0 is None else first_leaf(x0).shape[0]
    if n is None:
        if rows is None:
            raise ShapeError("give n, or the states x0 to start from")
        n = rows
    if n < 1:
        raise ShapeError(f"n must be at least 1, got {n}")
    if rows not in (None, n):
        raise ShapeError(f"x0 has {rows} rows, and n is {n}")
    return n


def _joined(parts: list[Solution]) -> Solution:
    if len(parts) == 1:
        return parts[0]
    x = concat([p.x for p in parts])
    # Adaptive solvers keep other times in every chunk, so only equal ones can be joined.
    same = len({p.times for p in parts}) == 1
    states = [concat(list(s)) for s in zip(*(p.trajectory for p in parts), strict=True)] if same else []
    cond = {name: torch.cat([p.cond[name] for p in parts]) for name in parts[0].cond}
    return Solution(x, max(p.nfe for p in parts), parts[0].times if same else (), states, cond=cond)
