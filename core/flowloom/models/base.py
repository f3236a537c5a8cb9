"""The model contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

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
    be withheld conditions sets ``conditional = True``. One that is never told some conditions of its spec
    names them in ``ignored``, and nobody has to give them. One whose answers move with the state, or stay,
    under a group names it in ``symmetries`` (`flowloom.symmetries`), and is held to it. One that reads
    conditions as sets names them, ``unordered = ("neighbours",)``: order along their first dimension then
    changes nothing. One that is fitted and not trained has ``fit(data, flow, generator)``, called once, with
    results in buffers. One that answers with logits of classes ``(batch, classes)``, and with no state, says
    how many: ``classifies = 10``; judges ask it for its features, too (`TellsFeatures`). Models are
    ``torch.nn.Module``s; a constructor parameter annotated with `flowloom.spec.Spec` receives the spec of the
    data.
    """

    def __call__(self, x: State, t: Time, /) -> State:
        """Read a state at a time."""


@runtime_checkable
class TellsFeatures(Protocol):
    """A network whose last hidden layer can be asked for, as metrics do that compare in features."""

    def features(self, x: State, t: Time, cond: Mapping[str, Tensor]) -> Tensor:
        """What the last hidden layer makes of a state, ``(batch, d)``."""


_SAYS: dict[str, Any] = {
    "conditional": False,
    "ignored": (),
    "batch_independent": True,
    "jvp_safe": True,
    "compile_safe": True,
    "bf16_safe": True,
    "classifies": 0,
}
"""What a network may say of itself, and what holds where it says nothing."""


def speak_for(outer: nn.Module, inner: nn.Module) -> None:
    """Give a network around another one what that says of itself; see `Model`."""
    for name, otherwise in _SAYS.items():
        setattr(outer, name, getattr(inner, name, otherwise))
