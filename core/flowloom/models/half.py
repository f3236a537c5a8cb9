"""Networks whose weights were cast to half precision, beside states that were not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from flowloom.models.base import speak_for
from flowloom.state import State, Time, first_leaf, float_dtype, map_state

__all__ = ["InHalf", "half_of"]


def half_of(model: nn.Module) -> torch.dtype | None:
    """The half precision of a network's weights; None where any of them is wider, or there are none."""
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return kinds.pop() if len(kinds) == 1 and kinds <= {torch.bfloat16, torch.float16} else None


class InHalf(nn.Module):
    """A network that computes in the half precision of its weights and answers in that of the state.

    A solver adds many small steps, whose sum needs more digits than the network's answer.

    Args:
        model: the network.
        dtype: of its weights.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype
        self.spec = getattr(model, "spec", None)
        speak_for(self, model)

    def forward(self, x: State, t: Time, /, **cond: Any) -> State:
        """Read a state at a time."""
        with torch.autocast(first_leaf(x).device.type, self.dtype):
            out: State = self.model(x, t, **cond)
        wanted = float_dtype(x)
        return map_state(lambda leaf: leaf.to(wanted), out)
