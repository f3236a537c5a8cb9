"""The model contract."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from flowloom.state import State, Time


@runtime_checkable
class Model(Protocol):
    """A network that reads a state and a time: ``model(x, t, **cond)``.

    * ``x``: state of shape ``(batch, *event)``, or a dict of such for a product space.
    * ``t``: time of shape ``(batch,)``.
    * ``cond``: tensors whose first dimension is the batch, each with the role that the spec gives it: what
      informs, settings such as a second time, what is real and given (`flowloom.layout.Layout`). ``null``
      (boolean ``(batch,)``) withholds what informs from a row; see `flowloom.conditions`.
    * returns a state in the structure of ``x``; for a discrete part, logits with one more dimension of
      size ``vocab``.

    Models must be safe under ``torch.func.jvp``, ``torch.compile`` and bf16, or say that they are not by a
    class attribute ``jvp_safe = False`` (likewise ``compile_safe``, ``bf16_safe``). A model whose rows see
    each other sets ``batch_independent = False``, and samplers then never split its batch. One that can
    be withheld conditions sets ``conditional = True``. One that reads some conditions as sets names them,
    ``unordered = ("neighbours",)``: order along their first dimension then changes nothing. One that is
    fitted and not trained has ``fit(data, flow, generator)``, called once, with results in buffers. One that
    answers with logits of classes ``(batch, classes)``, and with no state, says how many:
    ``classifies = 10``. Models are ``torch.nn.Module``s; a constructor parameter annotated with
    `flowloom.spec.Spec` receives the spec of the data.
    """

    def __call__(self, x: State, t: Time, /) -> State:
        """Read a state at a time."""
