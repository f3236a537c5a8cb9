"""Laws of codecs."""

from __future__ import annotations

from typing import Any

import torch

from flowloom.codecs import Codec
from flowloom.data.base import Dataset, Examples, Tensors
from flowloom.parts import load_tensors, tensors
from flowloom.state import leaves, map_state, shape_of, take, with_batch
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import all_finite, conditions_for, gap, rows_max, states_for


def _data(codec: Codec, context: Context) -> Dataset:
    """The data of the context where it has the codec's spec, else rows of that spec, not standardised."""
    if context.data is not None and context.data.spec == codec.data_spec:
        return context.data
    draws = context.generator(1)
    x = states_for(codec.data_spec, 256, draws)
    if codec.data_spec.limits is None:
        x = map_state(lambda v: 3 * v + 5 if v.is_floating_point() else v, x)
    return Tensors(x, conditions_for(codec.data_spec, 256, draws), spec=codec.data_spec)


def _fitted(make: Make, context: Context) -> tuple[Codec, Examples]:
    codec = make()
    data = _data(codec, context)
    codec.fit(data, None, context.generator(2))
    return codec, data.take(torch.arange(min(32, len(data))))


def _encoded(codec: Codec, examples: Examples, context: Context) -> Examples:
    return codec.encode(examples, context.generator(3))


def _size(examples: Examples) -> float:
    return 1e-4 * float(1 + rows_max(examples.x).max())


@law("decode inverts encode")
def check_round_trip(make: Make, context: Context) -> None:
    """``decode(encode(x)) = x``; a codec that loses something by design lists this as an expected failure."""
    codec, data = _fitted(make, context)
    back = codec.decode(_encoded(codec, data, context)).x
    context.holds(
        "decode returns the shape of the data", shape_of(back) == shape_of(data.x), f"{shape_of(back)}"
    )
    off = gap(map_state(torch.Tensor.float, back), map_state(torch.Tensor.float, data.x))
    context.within("decode(encode(x)) - x", off, _size(data))


@law("encoded states have the spec that the codec announces")
def check_spec(make: Make, context: Context) -> None:
    """``codec.spec`` sizes the model, so it must be right."""
    codec, data = _fitted(make, context)
    encoded = _encoded(codec, data, context).x
    wanted = with_batch(codec.spec.event_shape(), len(data))
    context.holds(
        "encoded states have the announced shape",
        shape_of(encoded) == wanted,
        f"{shape_of(encoded)}, {wanted}",
    )
    context.holds("encoded states are finite", all_finite(encoded))


@law("conditions that the spec announces come through")
def check_conditions_stay(make: Make, context: Context) -> None:
    """Every condition of ``codec.spec`` is there after encoding, with a row for every example."""
    codec, data = _fitted(make, context)
    encoded = _encoded(codec, data, context)
    for name in codec.spec.conditions:
        rows = len(encoded.cond[name]) if name in encoded.cond else 0
        context.holds(f"condition {name} has {len(data)} rows", rows == len(data), f"{rows}")


@law("conditions are encoded alone as they are with their examples")
def check_conditions_alone(make: Make, context: Context) -> None:
    """Those of the codec's spec that stand at no entry of the state: sampling knows no example."""
    codec, data = _fitted(make, context)
    beside, alone = _encoded(codec, data, context).cond, codec.encode_conditions(data.cond)
    for name, condition in codec.spec.conditions.items():
        if condition.role in ("values", "start") or name not in beside:
            continue
        context.holds(f"condition {name} is there when encoded alone", name in alone)
        off = gap(alone[name], beside[name]) if alone[name].shape == beside[name].shape else float("inf")
        context.within(f"condition {name} alone - with its examples", off, 1e-5)


@law("rows are encoded one by one")
def check_rows_are_independent(make: Make, context: Context) -> None:
    """A row alone gets the code it gets in company: statistics are those fitted, not those of the batch."""
    codec, data = _fitted(make, context)
    _, once = _fitted(make, context)
    together = _encoded(codec, data, context).x
    if gap(codec.encode(once, context.generator(4)).x, together) > 0:
        raise NotApplicable("this codec draws, so that rows do not have one code")
    for i in (0, 3):
        row = torch.tensor([i])
        off = gap(_encoded(codec, data.take(row), context).x, take(together, row))
        context.within("code of a row alone - in company", off, 1e-4 * float(1 + rows_max(together).max()))


@law("all randomness of encoding comes from the generator")
def check_draws_follow_the_generator(make: Make, context: Context) -> None:
    """Equal generators give equal codes, whatever the global one holds; else a resumed run would differ."""
    codec, data = _fitted(make, context)
    first = _encoded(codec, data, context).x
    torch.rand(1)
    context.within("code with an equal generator - first", gap(_encoded(codec, data, context).x, first), 0)


@law("fitted statistics survive a checkpoint")
def check_state_round_trip(make: Make, context: Context) -> None:
    """A fresh codec that loads the state, and is never fitted, encodes and decodes alike."""
    codec, data = _fitted(make, context)
    fresh = make()
    load_tensors(fresh, tensors(codec), "the check")
    encoded = _encoded(codec, data, context)
    again = _encoded(fresh, data, context)
    context.within("code of the restored codec - original", gap(again.x, encoded.x), 0)
    off = gap(fresh.decode(encoded).x, codec.decode(encoded).x)
    context.within("data of the restored codec - original", off, 0)


@law("fitting twice on the same data gives the same codec")
def check_fit_is_deterministic(make: Make, context: Context) -> None:
    """Everything is drawn from the generator that ``fit`` receives."""
    first, data = _fitted(make, context)
    torch.rand(1)
    second, _ = _fitted(make, context)
    off = gap(_encoded(first, data, context).x, _encoded(second, data, context).x)
    context.within("code after a second fit - first", off, 0)


@law("log_det is the log volume by which encoding stretches the data")
def check_log_det(make: Make, context: Context) -> None:
    """Against the determinant of the Jacobian, row by row, where there is one."""
    codec, data = _fitted(make, context)
    few = data.take(torch.arange(3))
    claimed = codec.log_det(few)
    if claimed is None:
        raise NotApplicable("this codec announces no volume")
    x = few.x
    if not isinstance(x, torch.Tensor) or not x.is_floating_point() or x[0].numel() > 64:
        raise NotApplicable("the Jacobian is taken of one small real-valued tensor")
    for i in range(len(x)):

        def code(flat: torch.Tensor, i: int = i) -> torch.Tensor:
            row = Examples(flat.reshape(x[i : i + 1].shape), few.take(torch.tensor([i])).cond)
            return next(leaves(_encoded(codec, row, context).x))[1].flatten()

        jacobian: Any = torch.func.jacrev(code)(x[i].flatten())
        if jacobian.shape[0] != jacobian.shape[1]:
            raise NotApplicable("states and data differ in size")
        exact = torch.linalg.slogdet(jacobian.double()).logabsdet
        context.within("log_det - log |det J|", claimed[i] - exact, 1e-4 * (1 + float(exact.abs())))
