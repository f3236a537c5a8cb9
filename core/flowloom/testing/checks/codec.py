"""Laws of codecs."""

from __future__ import annotations

from typing import Any

import torch

from flowloom.codecs import Codec
from flowloom.data.base import Dataset, Tensors
from flowloom.state import leaves, map_state, shape_of, take, with_batch
from flowloom.testing.laws import Context, Make, law
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


def _fitted(make: Make, context: Context) -> tuple[Codec, Any]:
    codec = make()
    data = _data(codec, context)
    codec.fit(data)
    return codec, data.take(torch.arange(min(32, len(data)))).x


@law("decode inverts encode")
def check_round_trip(make: Make, context: Context) -> None:
    """``decode(encode(x)) = x``; a codec that loses something by design lists this as an expected failure."""
    codec, x = _fitted(make, context)
    back = codec.decode(codec.encode(x))
    context.holds("decode returns the shape of the data", shape_of(back) == shape_of(x), f"{shape_of(back)}")
    size = 1e-4 * float(1 + rows_max(x).max())
    context.within(
        "decode(encode(x)) - x",
        gap(map_state(torch.Tensor.float, back), map_state(torch.Tensor.float, x)),
        size,
    )


@law("encoded states have the spec that the codec announces")
def check_spec(make: Make, context: Context) -> None:
    """``codec.spec`` sizes the model, so it must be right."""
    codec, x = _fitted(make, context)
    encoded = codec.encode(x)
    wanted = with_batch(codec.spec.event_shape(), next(leaves(x))[1].shape[0])
    context.holds(
        "encoded states have the announced shape",
        shape_of(encoded) == wanted,
        f"{shape_of(encoded)}, {wanted}",
    )
    context.holds("encoded states are finite", all_finite(encoded))


@law("rows are encoded one by one")
def check_rows_are_independent(make: Make, context: Context) -> None:
    """A row alone gets the code it gets in company: statistics are those fitted, not those of the batch."""
    codec, x = _fitted(make, context)
    together = codec.encode(x)
    for i in (0, 3):
        row = torch.tensor([i])
        off = gap(codec.encode(take(x, row)), take(together, row))
        context.within("code of a row alone - in company", off, 1e-4 * float(1 + rows_max(together).max()))


@law("fitted statistics survive a checkpoint")
def check_state_round_trip(make: Make, context: Context) -> None:
    """A fresh codec that loads the state, and is never fitted, encodes and decodes alike."""
    codec, x = _fitted(make, context)
    fresh = make()
    fresh.load_state_dict(codec.state_dict())
    encoded = codec.encode(x)
    context.within("code of the restored codec - original", gap(fresh.encode(x), encoded), 0)
    context.within(
        "data of the restored codec - original", gap(fresh.decode(encoded), codec.decode(encoded)), 0
    )


@law("fitting twice on the same data gives the same codec")
def check_fit_is_deterministic(make: Make, context: Context) -> None:
    """Nothing is drawn, or everything from a fixed seed."""
    first, x = _fitted(make, context)
    torch.rand(1)
    second, _ = _fitted(make, context)
    context.within("code after a second fit - first", gap(first.encode(x), second.encode(x)), 0)
