"""Laws of guidance, measured on a conditional field that counts its calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.conditions import without
from flowloom.guidance import Guidance, Unguided
from flowloom.state import shape_of
from flowloom.testing.flows import encoded
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.oracles import FakeConditional
from flowloom.testing.states import all_finite, gap

N = 6


def _scales(guidance: Guidance) -> bool:
    return hasattr(guidance, "scale")


def _plain(guidance: Guidance) -> Guidance:
    """The rule switched on at all times and over all conditions, so that its scale alone is tested."""
    for name, value in (("interval", (0.0, 1.0)), ("conditions", ())):
        if hasattr(guidance, name):
            setattr(guidance, name, value)
    return guidance


def _with_scale(make: Make, scale: float) -> Guidance:
    guidance: Any = _plain(make())
    guidance.scale = scale
    return guidance


def _inputs(context: Context, vocab: int = 0) -> tuple[Any, Tensor, dict[str, Tensor]]:
    draws = context.generator(1)
    label = torch.randint(1, 5, (N,), generator=draws)
    t = torch.full((N,), 0.4, dtype=torch.float64)
    if vocab:
        return torch.randint(vocab, (N, 3), generator=draws), t, {"label": label}
    return torch.randn(N, 3, generator=draws, dtype=torch.float64), t, {"label": label}


def _fields() -> list[FakeConditional]:
    return [FakeConditional(kind) for kind in ("velocity", "data", "noise", "score")] + [
        FakeConditional("posterior", 4)
    ]


def _comparable(value: Any, field: FakeConditional) -> Any:
    """Posteriors are compared as log probabilities, which logits fix up to a constant."""
    return value.log_softmax(-1) if field.vocab else value


@law("the guided field has the kind, path, geometry and source of the field")
def check_kind_is_kept(make: Make, context: Context) -> None:
    """A solver must not see the difference."""
    for field in _fields():
        guided = make()(field)
        for name in ("kind", "path", "geometry", "source", "batch_independent"):
            same = getattr(guided, name) == getattr(field, name)
            context.holds(
                f"guidance keeps {name}", same, f"{getattr(guided, name)} for {getattr(field, name)}"
            )


@law("answers have the shape of the field's")
def check_shape_is_kept(make: Make, context: Context) -> None:
    """Rows are not doubled, dropped or mixed up."""
    for field in _fields():
        x, t, cond = _inputs(context, field.vocab)
        guided, plain = make()(field)(x, t, cond), field(x, t, cond)
        assert isinstance(guided, Tensor) and isinstance(plain, Tensor)
        context.holds(
            "guided answers have the field's shape", guided.shape == plain.shape, f"{tuple(guided.shape)}"
        )


@law("scale 1 is the field itself, at the price of one evaluation", when=_scales)
def check_scale_one_is_the_field(make: Make, context: Context) -> None:
    """And no doubled batch is sent."""
    for field in _fields():
        x, t, cond = _inputs(context, field.vocab)
        plain = field(x, t, cond)
        guided = _with_scale(make, 1.0)(field)
        field.rows = 0
        off = gap(_comparable(guided(x, t, cond), field), _comparable(plain, field))
        context.within(f"scale 1 = the field ({field.kind})", off, 1e-12)
        context.within("rows evaluated beyond the batch at scale 1", field.rows - N, 0)


@law("scale 0 is the unconditional field", when=_scales)
def check_scale_zero_is_unconditional(make: Make, context: Context) -> None:
    """The field with all conditions withheld."""
    for field in _fields():
        x, t, cond = _inputs(context, field.vocab)
        null = field(x, t, without(cond, N))
        off = gap(_comparable(_with_scale(make, 0.0)(field)(x, t, cond), field), _comparable(null, field))
        context.within(f"scale 0 = the unconditional field ({field.kind})", off, 1e-12)


@law("answers are affine in the scale", when=_scales)
def check_affine_in_scale(make: Make, context: Context) -> None:
    """``v_w = (1 - w) v_null + w v_cond``; for posteriors in log probabilities, up to normalisation."""
    for field in _fields():
        x, t, cond = _inputs(context, field.vocab)
        plain, null = (_comparable(field(x, t, c), field) for c in (cond, without(cond, N)))
        for scale in (-0.5, 0.3, 2.5):
            guided = _comparable(_with_scale(make, scale)(field)(x, t, cond), field)
            wanted = _comparable((1 - scale) * null + scale * plain, field)
            context.within(f"scale {scale:g} mixes affinely ({field.kind})", gap(guided, wanted), 1e-10)


@law("evaluations are counted as they are made")
def check_evaluations_are_counted(make: Make, context: Context) -> None:
    """``calls(t, cond)`` is the number of rows sent to the network, over the batch, at every time."""
    for time in (0.0, 0.4, 1.0):
        x, t, cond = _inputs(context)
        for given in (cond, {}):
            field = FakeConditional()
            guided = make()(field)
            guided(x, torch.full_like(t, time), given)
            off = guided.calls(time, given) - field.rows / N
            context.within(f"calls({time:g}) - evaluations made, conditions {sorted(given)}", off, 0)


@law("without conditions the field is left alone")
def check_unconditional_is_left_alone(make: Make, context: Context) -> None:
    """What does not inform (a mask) is handed on as it is."""
    seen: list[dict[str, Tensor]] = []

    class Spy(FakeConditional):
        def __call__(self, x: Any, t: Any, cond: Any) -> Any:
            seen.append(dict(cond))
            return x * 2

    x, t, _ = _inputs(context)
    mask = torch.ones(N, 3, dtype=torch.bool)
    value = make()(Spy())(x, t, {"mask": mask})
    context.within("guided = field where there is no condition", gap(value, x * 2), 1e-12)
    context.holds("the mask reaches the field", torch.equal(seen[0].get("mask", ~mask)[:N], mask))


@law("a mask is given to both branches, and labels are not leaked into the null branch", when=_scales)
def check_branches(make: Make, context: Context) -> None:
    """Rows whose conditions are not withheld see the true labels; the others are marked by ``null``."""
    seen: list[dict[str, Tensor]] = []

    class Spy(FakeConditional):
        def __call__(self, x: Any, t: Any, cond: Any) -> Any:
            seen.append(dict(cond))
            return super().__call__(x, t, cond)

    x, t, cond = _inputs(context)
    mask = torch.rand(N, 3, generator=context.generator(2)) > 0.5
    _with_scale(make, 2.0)(Spy())(x, t, {**cond, "mask": mask})
    null = torch.cat([c.get("null", torch.zeros(len(c["label"]), dtype=torch.bool)) for c in seen])
    labels, masks = torch.cat([c["label"] for c in seen]), torch.cat([c["mask"] for c in seen])
    context.holds(
        "both branches are asked", len(null) == 2 * N and int(null.sum()) == N, f"{int(null.sum())} null rows"
    )
    context.holds("the conditional branch sees the labels", torch.equal(labels[~null], cond["label"]))
    context.holds("both branches see the mask", all(torch.equal(masks[rows], mask) for rows in (null, ~null)))


@law("the field of its own recipe is steered to finite answers, of its kind and in its shape")
def check_steers_its_flow(make: Make, context: Context) -> None:
    """On the recipe's own data and conditions, at half of the way."""
    flow, data = context.flow, context.data
    if flow is None or data is None:
        raise NotApplicable("no recipe is around it")
    asked = encoded(data.take(torch.arange(min(N, len(data)))), flow).to(flow.device)
    time = torch.full((len(asked),), 0.5, device=flow.device)
    plain = flow.field(Unguided())
    guided = make()(plain)
    context.holds("guidance keeps the kind", guided.kind == plain.kind, f"{guided.kind} for {plain.kind}")
    with torch.no_grad(), flow.evaluating():
        answer, own = guided(asked.x, time, asked.cond), plain(asked.x, time, asked.cond)
        context.holds("answers have the field's shape", shape_of(answer) == shape_of(own))
        context.holds("answers are finite", all_finite(answer))
