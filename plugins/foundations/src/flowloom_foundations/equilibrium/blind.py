"""Networks that are not told the time."""

from __future__ import annotations

from torch import Tensor, nn

from flowloom.fields.base import time_tensor
from flowloom.models import Model, speak_for
from flowloom.spec import Spec
from flowloom.state import Cond, State, Time

__all__ = ["TimeBlind", "ask_blind"]


def ask_blind(model: nn.Module, x: State, cond: Cond) -> State:
    """What a network of state and time says where its time is always 0: any backbone serves as it is."""
    answer: State = model(x, time_tensor(0.0, x), **cond)
    return answer


class TimeBlind(nn.Module):
    """Any network, never told the time, for objectives that would tell it.

    Equilibrium matching needs no wrapper, it never tells. This is for the ablation: flow matching without
    time, whose answer is the mean velocity over all times at which a state may be met.

    Args:
        spec: of the states; injected from the recipe.
        network: asked at time 0.
    """

    conditional = True

    def __init__(self, spec: Spec, network: Model) -> None:
        super().__init__()
        assert isinstance(network, nn.Module)
        self.spec, self.network = spec, network
        speak_for(self, network)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """The network's answer at time 0, whatever ``t``."""
        return ask_blind(self.network, x, cond)
