"""Laws of objectives."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flowloom.draw import Draw
from flowloom.fields import Kind
from flowloom.geometry import Discrete, Geometry, Product
from flowloom.layout import Layout
from flowloom.models import MLP
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.sources import Gaussian
from flowloom.spec import Condition, Spec
from flowloom.state import State, first_leaf, leaves, map_state, part, with_batch
from flowloom.testing.flows import encoded
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import all_finite, event_shape, gap, power_shape

if TYPE_CHECKING:
    from flowloom.flow import Flow

CLASSES = 3
POINTS = ("velocity", "data", "noise", "posterior")
_KINDS = (*POINTS, "score", "flow-map", "source-posterior")


def _drops(objective: Objective) -> bool:
    return getattr(objective, "condition_dropout", 0.0) > 0


def _has_times(objective: Objective) -> bool:
    # The laws ask with a network that answers with states.
    return hasattr(objective, "times") and objective.generates


def _jumps(objective: Objective) -> bool:
    return objective.kind == "flow-map"


def _generates(objective: Objective) -> bool:
    return objective.generates


class _Network(nn.Module):
    """The reference MLP, deaf to arguments it does not know, keeping what it was given."""

    conditional = True

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.inner = MLP(spec, width=16, depth=1)
        self.seen: list[tuple[Any, dict[str, Tensor]]] = []

    def forward(self, x: State, t: Any, s: Tensor | None = None, **cond: Tensor) -> State:
        self.seen.append((t, dict(cond)))
        return self.inner(x, t, **cond)


def _model(objective: Objective, spec: Spec, context: Context) -> nn.Module:
    """The reference network; where the kind of field is a plugin's own, the network of the recipe around it.

    No MLP is a bijection, or a policy with masks.
    """
    own = isinstance(objective.kind, str) and objective.kind not in _KINDS
    if own and context.flow is not None:
        return copy.deepcopy(context.flow.model)
    return _Network(spec)


def _spec(geometry: Geometry, context: Context) -> Spec:
    conditions = {"label": Condition(CLASSES)}
    if isinstance(geometry, Product):
        inner = {name: _spec(g, Context(context.seed)) for name, g in geometry.parts.items()}
        return Spec(
            parts={n: Spec(shape=s.shape, vocab=s.vocab) for n, s in inner.items()}, conditions=conditions
        )
    shape = event_shape(geometry, context)
    assert not isinstance(shape, dict)
    return Spec(shape, geometry.vocab if isinstance(geometry, Discrete) else None, conditions=conditions)


def _own_batch(objective: Objective, context: Context, n: int) -> tuple[Batch, Spec] | None:
    """A batch of the data that the objective is to be judged on, None where there is none for it.

    x0 is drawn from the source of its recipe, without one from the geometry of its path.
    """
    data, flow = context.data, context.flow
    if data is None or (flow is None and context.shape != data.spec.event_shape()):
        return None
    examples = data.take(torch.arange(n) % len(data))
    states = encoded(examples, flow)
    if flow is not None:
        x0 = flow.noise_for(states, context.generator(1))
        return Batch(x0, (examples if objective.encodes else states).x, states.cond), flow.spec
    shape = with_batch(data.spec.event_shape(), n)
    x0 = objective.path.geometry.random(shape, Draw(context.generator(1), dtype=torch.float32))
    return Batch(x0, examples.x, examples.cond), data.spec


def _batch(objective: Objective, context: Context, n: int = 16) -> tuple[Batch, Spec]:
    own = _own_batch(objective, context, n)
    if own is not None:
        return own
    geometry = objective.path.geometry
    spec = _spec(geometry, context)
    draws = context.generator(1)
    shape: Any = with_batch(spec.event_shape(), n)
    x0, x1 = (geometry.random(shape, Draw(draws, dtype=torch.float32)) for _ in "ab")
    if geometry.continuous and objective.kind == "posterior":
        # Data of such paths are corners of a simplex, not points inside it.
        x1 = nn.functional.one_hot(x1.argmax(-1), x1.shape[-1]).float()
    return Batch(x0, x1, {"label": torch.randint(CLASSES, (n,), generator=draws)}), spec


def total(loss: Loss) -> Tensor:
    """The scalar to descend, several named ones summed."""
    return loss.total if isinstance(loss.total, Tensor) else torch.stack(list(loss.total.values())).sum()


def _step(objective: Objective, model: nn.Module, context: Context, stream: int = 2) -> Step:
    """The first step of a training, whose averaged weights are still those of the model.

    There are none for an objective that does not say that it learns from them.
    """

    def average() -> Flow:
        from flowloom.flow import Flow

        # What a spy has seen belongs to the graph of a loss, and cannot be copied.
        memo: dict[int, Any] = {id(model.seen): []} if hasattr(model, "seen") else {}
        return Flow(copy.deepcopy(model, memo), objective=objective).requires_grad_(False).eval()

    says = any(isinstance(part, Objective) and part.averages for part in objective.modules())
    return Step(generator=context.generator(stream), average=average if says else None)


def _loss(objective: Objective, model: nn.Module, batch: Batch, context: Context, stream: int = 2) -> Tensor:
    return total(objective.loss(model, batch, _step(objective, model, context, stream)))


@law("the loss is a finite scalar whose gradient reaches the model")
def check_loss_reaches_the_model(make: Make, context: Context) -> None:
    """And its logged parts are scalars without gradient."""
    objective = make()
    batch, spec = _batch(objective, context)
    model = _model(objective, spec, context)
    loss = objective.loss(model, batch, _step(objective, model, context))
    scalar = total(loss)
    context.holds("loss is a scalar", scalar.ndim == 0, f"shape {tuple(scalar.shape)}")
    context.holds("loss is finite", bool(scalar.isfinite()))
    context.holds("parts carry no gradient", not any(v.requires_grad for v in loss.parts.values()))
    scalar.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    context.holds("gradient reaches the model", any(bool((g != 0).any()) for g in grads))
    context.holds("gradient is finite", all(bool(g.isfinite().all()) for g in grads))


@law("all randomness comes from the generator")
def check_follows_its_generator(make: Make, context: Context) -> None:
    """Equal seeds give equal losses, whatever the global generator holds."""
    objective = make()
    batch, spec = _batch(objective, context)
    model = _model(objective, spec, context)
    first = _loss(objective, model, batch, context)
    torch.rand(1)
    context.within("equal seeds give equal losses", _loss(objective, model, batch, context) - first, 0)


class _Cheat(nn.Module):
    """Knows both ends, and answers with the exact conditional target."""

    def __init__(self, objective: Objective, batch: Batch) -> None:
        super().__init__()
        self.objective, self.batch = objective, batch
        self.unknown = ""

    def forward(self, x: State, t: Any, s: Tensor | None = None, **cond: Tensor) -> State:
        point = self.objective.path.sample(self.batch.x0, self.batch.x1, t)
        jumps = not self.objective.path.geometry.continuous
        if not jumps and gap(point.x_t, x) > 1e-4:
            self.unknown = "the objective asks for points that are not on its path"
        return self._answer(self.objective.kind, point.velocity, point.x0, point.x1, x)

    def _answer(self, kind: Kind, velocity: Any, x0: Any, x1: Any, x: Any) -> State:
        if isinstance(kind, dict):
            return {k: self._answer(kind[k], part(velocity, k), x0[k], x1[k], x[k]) for k in kind}
        if kind == "posterior":
            return self._logits(x1, x)
        if kind not in POINTS:
            self.unknown = f"no exact answer of kind {kind} is known"
        return {"velocity": velocity, "data": x1, "noise": x0}.get(str(kind), x)

    def _logits(self, x1: Any, x: Any) -> Any:
        if x1.is_floating_point():
            return 60.0 * x1
        vocab = _vocab(self.objective.path.geometry)
        return 60.0 * nn.functional.one_hot(x1, vocab).float()


def _vocab(geometry: Geometry) -> int:
    if isinstance(geometry, Discrete):
        return geometry.vocab
    assert isinstance(geometry, Product)
    return max(_vocab(g) for g in geometry.parts.values() if not g.continuous)


class _Zero(_Cheat):
    def _answer(self, kind: Kind, velocity: Any, x0: Any, x1: Any, x: Any) -> State:
        return map_state(torch.zeros_like, super()._answer(kind, velocity, x0, x1, x))


@law("a model that knows both ends has no loss", when=_generates)
def check_exact_answers_have_no_loss(make: Make, context: Context) -> None:
    """The exact conditional target, compared with the answer zero."""
    objective = make()
    batch, _ = _batch(objective, context, 64)
    exact, zero = _Cheat(objective, batch), _Zero(objective, batch)
    try:
        found, scale = (_loss(objective, m, batch, context) for m in (exact, zero))
    except TypeError as error:
        raise NotApplicable(f"the objective wants more of its model: {error}") from error
    if exact.unknown:
        raise NotApplicable(exact.unknown)
    context.holds("the answer zero has a loss", bool(scale > 1e-3), f"{float(scale.detach()):.3g}")
    context.within("loss of exact answers, relative to that of zeros", found / scale, 1e-4)


@law("the field is of the kind declared before any model exists")
def check_field_is_of_its_kind(make: Make, context: Context) -> None:
    """And answers on the path's geometry with tangent velocities."""
    objective = make()
    batch, spec = _batch(objective, context)
    field = objective.field(_model(objective, spec, context), Gaussian())
    context.holds(
        "field.kind = objective.kind", field.kind == objective.kind, f"{field.kind}, {objective.kind}"
    )
    context.holds("the field has the path", field.path is objective.path)
    t = torch.full((16,), 0.4)
    if field.kind == "flow-map":
        raise NotApplicable("a flow map is asked with two times")
    value = field(batch.x0, t, batch.cond)
    context.holds("answers are finite", all_finite(value))
    if field.kind == "velocity" and field.geometry.continuous:
        tangent = field.geometry.to_tangent(batch.x0, value)
        context.within("velocities are tangent", gap(tangent, value), 1e-4)


@law("a flow map tells its network the settings that `tells` names, and no other", when=_jumps)
def check_a_flow_map_tells_its_settings(make: Make, context: Context) -> None:
    """What it does not tell is the caller's to give, and reaches the network as given."""
    objective = make()
    settings = {name for name, one in objective.conditions().items() if one.role == "setting"}
    if not settings:
        raise NotApplicable("it has no settings of its own")
    batch, spec = _batch(objective, context)
    model = _Network(spec)
    field: Any = objective.field(model, Gaussian())
    given = {name: torch.full((16,), 0.7) for name in settings.difference(objective.tells)}
    start = torch.zeros(16)
    try:
        field.jump(batch.x0, start, start + 1, {**batch.cond, **given})
    except TypeError as error:
        again = next((name for name in given if f"argument '{name}'" in str(error)), None)
        if again is None:
            raise
        context.holds(f"{again} is told once; name it in `tells`", False)
    told = model.seen[-1][1] if model.seen else {}
    for name in settings:
        context.holds(f"{name} is told", name in told)
        if name in given:
            kept = torch.equal(told[name], given[name])
            context.holds(f"{name} is told as it was given, or named in `tells`", kept)


@law("conditions are withheld from each row with the declared probability", when=_drops)
def check_condition_dropout(make: Make, context: Context) -> None:
    """By ``null``, row by row, while the true labels stay visible."""
    objective: Any = make()
    batch, spec = _batch(objective, context, 4000)
    model = _Network(spec)
    _loss(objective, model, batch, context)
    nulls = torch.cat([cond["null"] for _, cond in model.seen if "null" in cond] or [torch.zeros(4000)])
    if not spec.conditions:
        raise NotApplicable("the data have no conditions")
    rate = objective.condition_dropout
    noise = math.sqrt(rate * (1 - rate) / len(nulls))
    context.within("share of withheld rows - declared", nulls.double().mean() - rate, 5 * noise)
    for _, cond in model.seen:
        for name in spec.conditions:
            context.holds(f"true values of {name} stay visible", torch.equal(cond[name], batch.cond[name]))


@law("times come from the law of the objective", when=_has_times)
def check_times_follow_the_law(make: Make, context: Context) -> None:
    """In ``[0, latest]``, with the median of the law."""
    objective: Any = make()
    batch, spec = _batch(objective, context, 4000)
    model = _Network(spec)
    _loss(objective, model, batch, context)
    t = first_leaf(model.seen[0][0]).double()
    context.holds("every row has a time", t.shape[0] == 4000, f"{tuple(t.shape)}")
    context.within("times are at most latest", (t - objective.times.latest).clamp_min(0), 1e-6)
    median = objective.times.quantile(torch.tensor([0.5], dtype=torch.float64)) * objective.times.latest
    context.within(
        "share of times below the median of the law - 1/2", (t < median).double().mean() - 0.5, 0.05
    )


class _Stored(nn.Module):
    """Answers with a stored tensor for every leaf, whatever it is asked."""

    def __init__(self, answers: Any) -> None:
        super().__init__()
        self.answers = answers
        self.seen: Any = None

    def forward(self, x: State, t: Any, s: Tensor | None = None, **cond: Tensor) -> State:
        self.seen = x
        return self.answers


@law("padding counts nothing, not even where it is NaN")
def check_padding_counts_nothing(make: Make, context: Context) -> None:
    """Loss and gradient are the same whatever stands in padding, and as if it were cut off."""
    objective = make()
    geometry, n, length = objective.path.geometry, 6, 5
    try:
        shape = with_batch(power_shape(geometry, length), n)
        draws = context.generator(1)
        x0, x1 = (geometry.random(shape, Draw(draws, dtype=torch.float32)) for _ in "ab")
        x_t = objective.path.sample(x0, x1, torch.full((n,), 0.5)).x_t
    except NotApplicable:
        raise
    except Exception as error:
        raise NotApplicable(f"states of variable length do not fit this path: {error}") from error
    mask = torch.arange(length) < torch.tensor([1, 2, 3, 4, 5, 5])[:, None]
    kind = objective.kind
    answers = _answers(kind, x_t, geometry, draws)

    def spoil(state: State) -> Any:
        def leaf(v: Tensor) -> Tensor:
            real = mask.reshape(n, length, *(1,) * (v.ndim - 2))
            return torch.where(real, v, torch.full_like(v, math.nan if v.is_floating_point() else -1))

        return map_state(leaf, state)

    layout = _everywhere(geometry, mask)
    clean, spoiled = (map_state(lambda v: v.clone().requires_grad_(), a) for a in (answers, spoil(answers)))
    try:
        first = _loss(objective, _Stored(clean), Batch(x0, x1, {}, layout), context)
    except Exception as error:
        raise NotApplicable(f"the objective wants more of its model: {error}") from error
    second = _loss(objective, _Stored(spoiled), Batch(spoil(x0), spoil(x1), {}, layout), context)
    context.within("loss with NaN padding - loss", second - first, 1e-5 * (1 + abs(float(first.detach()))))
    second.backward()
    for _, leaf in leaves(spoiled):
        grad = leaf.grad
        context.holds("gradient is finite with NaN padding", grad is None or bool(grad.isfinite().all()))
        if grad is not None:
            context.within("gradient of padded answers", grad[~mask], 0)
    again = objective.path.sample(x0, x1, torch.full((n,), 0.5)).x_t
    if gap(again, x_t) == 0:

        def cut(state: State) -> Any:
            return map_state(lambda v: v.detach()[:, :3], state)

        same_length = _everywhere(geometry, (torch.arange(length) < 3).expand(n, length))
        padded = _loss(objective, _Stored(answers), Batch(x0, x1, {}, same_length), context)
        short = _loss(objective, _Stored(cut(answers)), Batch(cut(x0), cut(x1)), context)
        context.within(
            "loss of padded rows - of rows cut short", padded - short, 1e-5 * (1 + short.detach().abs())
        )


def _everywhere(geometry: Geometry, mask: Tensor) -> Layout:
    """The same entries real in every part."""

    def tree(space: Geometry) -> Any:
        return {k: tree(g) for k, g in space.parts.items()} if isinstance(space, Product) else mask

    return Layout(tree(geometry))


@law("given entries stand at their end, do not move and cost nothing")
def check_given_entries_stay(make: Make, context: Context) -> None:
    """The network sees them clean, and what it answers there changes neither loss nor gradient."""
    objective = make()
    geometry, n, length = objective.path.geometry, 6, 5
    try:
        shape = with_batch(power_shape(geometry, length), n)
        draws = context.generator(1)
        x0, x1 = (geometry.random(shape, Draw(draws, dtype=torch.float32)) for _ in "ab")
        x_t = objective.path.sample(x0, x1, torch.full((n,), 0.5)).x_t
    except NotApplicable:
        raise
    except Exception as error:
        raise NotApplicable(f"states of several points do not fit this path: {error}") from error
    mask = torch.arange(length) < torch.tensor([0, 1, 2, 3, 4, 5])[:, None]
    given = _everywhere(geometry, mask).real
    layout = Layout(given=given)
    answers = _answers(objective.kind, x_t, geometry, draws)
    wild = map_state(lambda v: v + 7.0 * torch.randn(v.shape, generator=draws), answers)
    other = Layout(given=given, values=wild).hold(answers)
    first, second = (map_state(lambda v: v.clone().requires_grad_(), a) for a in (answers, other))
    spy = _Stored(first)
    try:
        loss = _loss(objective, spy, Batch(x0, x1, {}, layout), context)
    except Exception as error:
        raise NotApplicable(f"the objective wants more of its model: {error}") from error
    again = _loss(objective, _Stored(second), Batch(x0, x1, {}, layout), context)
    context.within(
        "loss with other answers at given entries - loss", again - loss, 1e-5 * (1 + loss.detach().abs())
    )
    again.backward()
    for _, leaf in leaves(second):
        if leaf.grad is not None:
            context.within("gradient of answers at given entries", leaf.grad[mask], 0)
    if spy.seen is not None:
        off = gap(layout.holding(x1).hold(spy.seen), spy.seen)
        context.within("given entries as the network sees them - x1", off, 0)


def _answers(kind: Kind, x: Any, geometry: Any, draws: torch.Generator) -> Any:
    if isinstance(x, dict):
        return {k: _answers(part(kind, k), v, geometry.parts[k], draws) for k, v in x.items()}
    if x.is_floating_point():
        return torch.randn(x.shape, generator=draws)
    return torch.randn((*x.shape, geometry.vocab), generator=draws)


@law("state of its own survives a checkpoint")
def check_state_round_trip(make: Make, context: Context) -> None:
    """``load_state_dict(state_dict())`` into a fresh objective gives the same loss."""
    first, second = make(), make()
    batch, spec = _batch(first, context)
    model = _model(first, spec, context)
    second.load_state_dict(first.state_dict())
    off = _loss(first, model, batch, context) - _loss(second, model, batch, context)
    context.within("loss after a round trip of its state", off, 1e-7)
