"""A flow that was trained before, as a part of another one: a teacher, a judge, a classifier."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import nn

from flowloom.data.base import Dataset
from flowloom.fields import Field
from flowloom.models.base import speak_for
from flowloom.spec import Spec
from flowloom.state import State, Time

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["Trained"]


class Trained(nn.Module):
    """A trained flow, frozen: its weights are in no optimiser, and it stays in evaluation mode.

    A constructor parameter annotated with this class takes ``{run: NAME}`` in a recipe: an earlier stage, or
    the folder of another run. Where a recipe gives nothing, the role of the parameter's name fills it. As a
    module it is the flow's network, ``trained(x, t, **cond)``, and says of itself what that network says
    (``conditional``, ``batch_independent``), so that it can stand wherever a network can; what the network
    *is*, guidance included, is `field`.

    Args:
        flow: that was trained; its parameters are frozen here.
        spec: of its data; of its states where left out.
        data: that it was trained on, where rows of them can be asked for.
        frozen: False leaves its parameters as they are, to be trained on.
        name: of its run; what is drawn from two runs is drawn apart.
    """

    flow: Flow

    def __init__(
        self,
        flow: Flow,
        spec: Spec | None = None,
        data: Dataset | None = None,
        *,
        frozen: bool = True,
        name: str = "",
    ) -> None:
        super().__init__()
        self.flow, self.data, self.name = flow, data, name
        self.data_spec = flow.spec if spec is None else spec
        if frozen:
            flow.requires_grad_(False)
        self.eval()
        speak_for(self, flow.model)

    def __deepcopy__(self, memo: dict[int, Any]) -> Trained:
        # What never changes is shared: averaged twins of a student would else copy the teacher's data.
        if not any(p.requires_grad for p in self.parameters()):
            return self
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        nn.Module.__init__(other)
        kept = {"data": self.data, "data_spec": self.data_spec, "name": self.name}
        other.__dict__.update(kept, training=self.training)
        other.flow = copy.deepcopy(self.flow, memo)
        speak_for(other, other.flow.model)
        return other

    @property
    def spec(self) -> Spec:
        """Shape and conditions of the flow's states."""
        return self.flow.spec

    def forward(self, x: State, t: Time, /, **cond: Any) -> State:
        """What the flow's network says of a state at a time."""
        out: State = self.flow.model(x, t, **cond)
        return out

    def field(self) -> Field:
        """The field that the flow is, guided where it has guidance."""
        return self.flow.field()
