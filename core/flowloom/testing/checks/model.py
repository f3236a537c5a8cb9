"""Laws of networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.layout import Layout
from flowloom.spec import Spec
from flowloom.state import Shape, State, concat, leaves, map_state, shape_of, take, with_batch
from flowloom.symmetries import Period, Permutation, Rotation, Symmetry, Translation
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import (
    all_finite,
    cast,
    conditions_for,
    gap,
    minus,
    noise_like,
    rows_max,
    scaled,
    states_for,
)

N = 4


def _independent(model: nn.Module) -> bool:
    return getattr(model, "batch_independent", True)


def _conditional(model: nn.Module) -> bool:
    return getattr(model, "conditional", False)


def _jvp_safe(model: nn.Module) -> bool:
    return getattr(model, "jvp_safe", True)


def _bf16_safe(model: nn.Module) -> bool:
    return getattr(model, "bf16_safe", True)


def _compile_safe(model: nn.Module) -> bool:
    return getattr(model, "compile_safe", True)


def _declares(kind: type[Symmetry]) -> Callable[[nn.Module], bool]:
    return lambda model: any(isinstance(one, kind) for one in getattr(model, "symmetries", ()))


def _spec(model: Any, context: Context) -> Spec:
    own = getattr(model, "spec", None)
    if isinstance(own, Spec):
        return own
    if context.spec is None:
        raise NotApplicable("the network carries no spec; give spec=")
    return context.spec


def _inputs(
    model: nn.Module, context: Context, n: int = N, stream: int = 1
) -> tuple[Any, Tensor, dict[str, Any]]:
    spec, draws = _spec(model, context), context.generator(stream)
    x = states_for(spec, n, draws)
    t = 0.1 + 0.8 * torch.rand(n, generator=draws)
    cond: dict[str, Any] = dict(conditions_for(spec, n, draws))
    return x, t, cond


def _answer_shape(model: nn.Module, spec: Spec) -> Shape:
    classes = getattr(model, "classifies", 0)
    return (classes,) if classes else _output_shape(spec)


def _output_shape(spec: Spec) -> Shape:
    if spec.parts:
        return {name: _output_shape(inner) for name, inner in spec.parts.items()}
    return spec.shape if spec.vocab is None else (*spec.shape, spec.vocab)


def _trained(make: Make, context: Context) -> nn.Module:
    """A fresh network after three large steps on random targets, which undo zero initialisations.

    One that is fitted is fitted to the data first, and that is all where it has nothing to train.
    """
    model: nn.Module = make()
    fit = getattr(model, "fit", None)
    if fit is not None:
        if context.data is None:
            raise NotApplicable("the network is fitted, and there is no data; give data=")
        fit(context.data, context.flow, context.generator(7))
    moving = [p for p in model.parameters() if p.requires_grad]
    if not moving:
        return model.eval()
    model.train()
    optimizer = torch.optim.Adam(moving, lr=2e-2)
    for step in range(3):
        x, t, cond = _inputs(model, context, 8, 10 + step)
        if _conditional(model):
            cond["null"] = torch.arange(8) % 2 == 0
        _fit(model(x, t, **cond), context, 20 + step).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def _fit(output: State, context: Context, stream: int) -> Tensor:
    target = noise_like(output, context.generator(stream))
    errors = [leaf.square().mean() for _, leaf in leaves(minus(output, target))]
    return torch.stack(errors).sum()


def _without(cond: dict[str, Any], n: int = N) -> dict[str, Any]:
    return {**cond, "null": torch.ones(n, dtype=torch.bool)}


def _labels(spec: Spec) -> list[str]:
    return list(spec.named("inform"))


@law("answers have the structure of the state, with logits for tokens, and are finite")
def check_output_shape(make: Make, context: Context) -> None:
    """For batches of 1 and 4 rows, at t = 0 and 1 too, with and without conditions."""
    model = make().eval()
    wanted = _answer_shape(model, _spec(model, context))
    for n in (1, N):
        x, t, cond = _inputs(model, context, n)
        for time in (t, torch.zeros(n), torch.ones(n)):
            extra = {**cond, "s": torch.minimum(cond["s"], time)} if "s" in cond else cond
            out = model(x, time, **extra)
            shape = shape_of(out)
            context.holds(
                "answer has the right shape", shape == with_batch(wanted, n), f"{shape} for {wanted}"
            )
            context.holds("answer is finite", all_finite(out))


@law("answers are the same when asked twice, and inputs are not changed")
def check_is_deterministic(make: Make, context: Context) -> None:
    """In eval mode nothing is drawn."""
    model = _trained(make, context)
    x, t, cond = _inputs(model, context)
    before = map_state(Tensor.clone, x)
    off = gap(model(x, t, **cond), model(x, t, **cond))
    context.within("second answer - first", off, 0)
    context.within("x after the call - before", gap(x, before), 0)


@law("every parameter gets a gradient once zero initialisations have moved")
def check_every_parameter_learns(make: Make, context: Context) -> None:
    """After three steps, with conditions shown in some rows and withheld in others."""
    model = _trained(make, context).train()
    if not any(p.requires_grad for p in model.parameters()):
        raise NotApplicable("the network has nothing to train")
    for stream in (30, 31, 32):
        x, t, cond = _inputs(model, context, 8, stream)
        if _conditional(model):
            cond["null"] = torch.arange(8) % 2 == 0
        _fit(model(x, t, **cond), context, 40).backward()
    lazy = [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not bool((p.grad != 0).any()))
    ]
    context.holds("every parameter gets a gradient", not lazy, f"none for {lazy[:4]}")


@law("the answer depends on time and state")
def check_time_and_state_matter(make: Make, context: Context) -> None:
    """After three steps of training; for networks of two times, on both."""
    model = _trained(make, context)
    x, t, cond = _inputs(model, context)
    out = model(x, t, **cond)
    scale = 1e-5 * float(1 + rows_max(out).max())
    context.holds("another time gives another answer", gap(model(x, 1 - t * 0.5, **cond), out) > scale)
    other = _inputs(model, context, N, 2)[0]
    context.holds("another state gives another answer", gap(model(other, t, **cond), out) > scale)
    if "s" in cond:
        late = {**cond, "s": cond["s"] * 0.5}
        context.holds("another second time, another answer", gap(model(x, t, **late), out) > scale)


@law("rows do not see each other, unless the network says so", when=_independent)
def check_batch_independence(make: Make, context: Context) -> None:
    """A row alone gets the answer it gets in company (or ``batch_independent = False``)."""
    model = _trained(make, context)
    x, t, cond = _inputs(model, context)
    together = model(x, t, **cond)
    rows = torch.arange(N)
    apart = concat([model(take(x, r), t[r], **{k: v[r] for k, v in cond.items()}) for r in rows.split(1)])
    context.within(
        "answer alone - answer in company", gap(together, apart), 1e-4 * float(1 + rows_max(together).max())
    )


@law(
    "forward-mode derivatives agree with differences, unless the network says it is not jvp-safe",
    when=_jvp_safe,
)
def check_jvp(make: Make, context: Context) -> None:
    """Along a random direction of state and time, in float64."""
    model = _trained(make, context).double()
    x, t, cond = _inputs(model, context)
    x, t = cast(x, torch.float64), t.double()
    cond = {k: v.double() if v.is_floating_point() else v for k, v in cond.items()}
    real = {name for name, leaf in leaves(x) if leaf.is_floating_point()}

    def direction(leaf: Tensor) -> Tensor:
        return torch.randn(leaf.shape, generator=draws, dtype=torch.float64)

    draws = context.generator(5)
    names = [name for name, _ in leaves(x)]
    values = [leaf for _, leaf in leaves(x)]
    slots = [i for i, name in enumerate(names) if name in real]
    steps = [direction(values[i]) for i in slots]

    def call(time: Tensor, *moved: Tensor) -> Any:
        filled = list(values)
        for i, value in zip(slots, moved, strict=True):
            filled[i] = value
        return model(_rebuild(x, iter(filled)), time, **cond)

    primal = (t, *(values[i] for i in slots))
    tangent = (torch.ones_like(t), *steps)
    out, slope, *_ = torch.func.jvp(call, primal, tangent)
    h = 1e-6
    ahead = call(*(p + h * d for p, d in zip(primal, tangent, strict=True)))
    behind = call(*(p - h * d for p, d in zip(primal, tangent, strict=True)))
    measured = scaled(minus(ahead, behind), 1 / (2 * h))
    size = float(1 + rows_max(measured).max() + rows_max(out).max())
    context.within("jvp - finite difference", gap(slope, measured), 1e-4 * size)


def _rebuild(like: Any, values: Any) -> Any:
    if isinstance(like, dict):
        return {name: _rebuild(inner, values) for name, inner in like.items()}
    return next(values)


@law("withheld conditions leave no trace, and shown ones leave one", when=_conditional)
def check_null_withholds(make: Make, context: Context) -> None:
    """Under ``null``, or its own ``null_name``, the answer does not depend on a condition; else it does."""
    model = _trained(make, context)
    spec = _spec(model, context)
    if not _labels(spec):
        raise NotApplicable("the spec has no conditions")
    x, t, cond = _inputs(model, context)
    other = {**cond, **{k: v for k, v in _inputs(model, context, N, 3)[2].items() if k in _labels(spec)}}
    for name in _labels(spec):
        if spec.conditions[name].classes is not None:
            classes = spec.conditions[name].classes or 1
            other[name] = (cond[name] + 1) % classes
    shown, hidden = model(x, t, **cond), model(x, t, **_without(cond))
    size = 1e-6 * float(1 + rows_max(shown).max())
    leak = gap(hidden, model(x, t, **_without(other)))
    context.within("answer under null - answer under null with another condition", leak, size)
    context.holds("null changes the answer", gap(shown, hidden) > size)
    context.holds("another condition changes the answer", gap(shown, model(x, t, **other)) > size)
    for name in _labels(spec):
        own = {f"null_{name}": torch.ones(N, dtype=torch.bool)}
        leak = gap(model(x, t, **cond, **own), model(x, t, **{**cond, name: other[name]}, **own))
        context.within(f"answer with '{name}' alone withheld - with another '{name}'", leak, size)
    some = torch.arange(N) % 2 == 0
    mixed = model(x, t, **{**cond, "null": some})
    for rows, wanted in ((some, hidden), (~some, shown)):
        index = rows.nonzero()[:, 0]
        off = gap(take(mixed, index), take(wanted, index))
        context.within(
            "rows withheld alone - rows withheld together", off, 1e-4 * float(1 + rows_max(shown).max())
        )


@law("padding does not reach real entries")
def check_layout(make: Make, context: Context) -> None:
    """For ragged specs: what stands in padded entries changes no answer of real ones, and NaN harms none."""
    model = _trained(make, context)
    spec = _spec(model, context)
    x, t, cond = _inputs(model, context)
    layout = Layout.of(spec, cond)
    if layout is None or layout.real is None:
        raise NotApplicable("the spec is not ragged")

    def fill(state: State, value: float) -> Any:
        other = map_state(
            lambda v: torch.full_like(v, value) if v.is_floating_point() else torch.zeros_like(v), state
        )
        return Layout(given=inverted(layout.real), values=other).hold(state)

    clean = fill(model(fill(x, 0.0), t, **cond), 0.0)
    for value in (7.0, float("nan")):
        off = gap(fill(model(fill(x, value), t, **cond), 0.0), clean)
        context.within(
            f"real entries beside padding of {value}", off, 1e-5 * float(1 + rows_max(clean).max())
        )


def inverted(real: Any) -> Any:
    """What is not real, in the structure of a layout's leaves."""
    if isinstance(real, dict):
        return {name: inverted(value) for name, value in real.items()}
    return None if real is None else ~real


def _keeps(make: Make, context: Context, kind: type[Symmetry]) -> None:
    """Three random elements, in float64, after a few steps of training."""
    model: Any = _trained(make, context).double()
    spec = _spec(model, context)
    for stream in (51, 52, 53):
        x, t, cond = _inputs(model, context, N, stream)
        x, t = cast(x, torch.float64), t.double()
        cond = {k: v.double() if v.is_floating_point() else v for k, v in cond.items()}
        layout = Layout.of(spec, cond)
        before = model(x, t, **cond)
        size = float(1 + rows_max(before).max())
        for one in model.symmetries:
            if not isinstance(one, kind):
                continue
            moved = one.moved(x, cond, spec, context.generator(stream + 10))
            after, wanted = model(moved.x, t, **moved.cond), moved.answer(before)
            if layout is not None:
                own = Layout.of(spec, moved.cond)
                assert own is not None
                after, wanted = own.zero(after), own.zero(wanted)
            context.within(
                f"answer to the moved state - moved answer ({one})", gap(after, wanted), 1e-7 * size
            )


@law("answers turn with the state, where the network declares rotations", when=_declares(Rotation))
def check_rotations(make: Make, context: Context) -> None:
    """Random rotations, reflections where declared, another for every row."""
    _keeps(make, context, Rotation)


@law(
    "answers stay where the state is shifted, where the network declares translations",
    when=_declares(Translation),
)
def check_translations(make: Make, context: Context) -> None:
    """Random shifts, another for every row."""
    _keeps(make, context, Translation)


@law("answers stay where coordinates go round, where the network declares periods", when=_declares(Period))
def check_periods(make: Make, context: Context) -> None:
    """Random whole turns, another for every coordinate."""
    _keeps(make, context, Period)


@law(
    "answers change places with the points, where the network declares permutations",
    when=_declares(Permutation),
)
def check_permutations(make: Make, context: Context) -> None:
    """Random orders, another for every row; padding and what is given go along."""
    _keeps(make, context, Permutation)


@law(
    "conditions that the network calls unordered may come in any order",
    when=lambda model: bool(getattr(model, "unordered", ())),
)
def check_sets_have_no_order(make: Make, context: Context) -> None:
    """Their first dimension turned around changes no answer, and other members change it."""
    model: Any = _trained(make, context)
    x, t, cond = _inputs(model, context)
    out = model(x, t, **cond)
    size = 1e-4 * float(1 + rows_max(out).max())
    others = _inputs(model, context, N, 3)[2]
    for name in model.unordered:
        members = cond[name].shape[1]
        order = torch.arange(members).roll(members // 2 + 1)
        turned = {**cond, name: cond[name][:, order]}
        context.within(f"answer with '{name}' in another order", gap(model(x, t, **turned), out), size)
        changed = {**cond, name: others[name]}
        context.holds(f"other '{name}', another answer", gap(model(x, t, **changed), out) > 1e-2 * size)


@law("weights survive a checkpoint")
def check_state_round_trip(make: Make, context: Context) -> None:
    """``load_state_dict(state_dict())`` into a fresh network gives the same answers."""
    first = _trained(make, context)
    second: nn.Module = make()
    second.load_state_dict(first.state_dict())
    second.eval()
    x, t, cond = _inputs(first, context)
    context.within(
        "answer of the restored network - original", gap(second(x, t, **cond), first(x, t, **cond)), 0
    )


@law("answers are finite under bf16 autocast, unless the network says it is not safe", when=_bf16_safe)
def check_bf16(make: Make, context: Context) -> None:
    """And near those of float32; gradients are finite."""
    model = _trained(make, context)
    x, t, cond = _inputs(model, context)
    exact = model(x, t, **cond)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x, t, **cond)
        loss = _fit(cast(rough, torch.float32), context, 6)
    context.holds("answer under bf16 is finite", all_finite(rough))
    off = gap(cast(rough, torch.float32), exact)
    context.within("answer under bf16 - float32", off, 0.2 * float(1 + rows_max(exact).max()))
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    context.holds("gradients under bf16 are finite", all(bool(g.isfinite().all()) for g in grads))


@law("the compiled network gives the same answers", when=_compile_safe, slow=True)
def check_compile(make: Make, context: Context) -> None:
    """``torch.compile`` with the ahead-of-time backend that needs no compiler."""
    model = _trained(make, context)
    x, t, cond = _inputs(model, context)
    exact = model(x, t, **cond)
    compiled: Any = torch.compile(model, backend="aot_eager")
    off = gap(compiled(x, t, **cond), exact)
    context.within("compiled - plain", off, 1e-4 * float(1 + rows_max(exact).max()))
