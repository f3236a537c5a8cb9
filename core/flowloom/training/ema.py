"""Exponential moving average of everything that a flow trains."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.objectives import Objective
from flowloom.training.parallel.world import in_shares

if TYPE_CHECKING:
    from flowloom.flow import Flow


class EMA:
    """Averages of a flow's trainable parameters, updated in one fused call.

    The decay at step k is ``min(decay, (1 + k) / (10 + k))``, so that the first averages are not held back
    by the random start. Buffers are not averaged: the averaged flow has those of the live one.

    Args:
        flow: whose parameters are averaged.
        decay: of the average.
    """

    def __init__(self, flow: Flow, decay: float) -> None:
        self.decay, self.flow = decay, flow
        live = {n: p for n, p in flow.trainable().items() if p.is_floating_point()}
        self.names, self.live = list(live), list(live.values())
        self.average = [p.detach().clone() for p in self.live]
        self._twin: Flow | None = None
        self._sort()

    def look_again(self) -> None:
        """Take the parameters that stand in both flows by now: sharding replaces them by others."""
        live, own = self.flow.trainable(), dict(self.averaged.named_parameters())
        self.live = [live[name] for name in self.names]
        self.average = [own[name].detach() for name in self.names]
        self._sort()

    def _sort(self) -> None:
        """One call takes tensors that are whole, or tensors in shares."""
        kinds = [in_shares(p) for p in self.live]
        places = ([i for i, kind in enumerate(kinds) if kind == wanted] for wanted in (False, True))
        self._alike = [some for some in places if some]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the live weights after step ``step`` (counted from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for some in self._alike:
            live = [self.live[i].detach() for i in some]
            torch._foreach_lerp_([self.average[i] for i in some], live, 1 - decay)

    @property
    def averaged(self) -> Flow:
        """The flow with averaged weights, frozen and in evaluation mode; frozen parts are the flow's own."""
        if self._twin is None:
            averages = dict(zip(map(id, self.live), self.average, strict=True))
            self._twin = twin_of(self.flow, averages)
        for live, own in zip(self.flow.modules(), self._twin.modules(), strict=True):
            # A buffer may have been replaced since.
            own._buffers.update(live._buffers)
        return self._twin

    def state_dict(self) -> dict[str, Tensor]:
        """Averaged weights by the parameter's name in the flow."""
        return dict(zip(self.names, self.average, strict=True))

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore averaged weights."""
        for name, target in zip(self.names, self.average, strict=True):
            target.copy_(state[name])

    @torch.no_grad()
    def copy_to_live(self) -> None:
        """Write the averages into the flow itself."""
        for target, value in zip(self.live, self.average, strict=True):
            target.copy_(value)


def require_averages(flow: Flow, decay: float) -> None:
    """Ask that there are averages where the objective, or one within it, learns from them.

    Args:
        flow: what is trained.
        decay: of its averages, 0 for none.

    Raises:
        IncompatibleError: there are none.
    """
    for part in flow.objective.modules() if not decay else ():
        if isinstance(part, Objective) and part.averages:
            raise IncompatibleError(
                f"objective {type(part).__name__} learns from averaged weights, and train.ema is 0; set "
                "train.ema, say to 0.999"
            )


def twin_of(flow: Flow, replaced: dict[int, Tensor]) -> Flow:
    """A copy of a flow that shares its buffers, its frozen weights and its parts without weights.

    Args:
        flow: what to copy.
        replaced: ``id`` of a parameter -> the tensor that stands for it in the copy, without gradient;
            other parameters are shared.
    """
    memo: dict[int, object] = {
        id(part): part for part in flow.parts().values() if not isinstance(part, nn.Module)
    }
    memo |= {id(buffer): buffer for buffer in flow.buffers()}
    for p in flow.parameters():
        value = replaced.get(id(p))
        memo[id(p)] = p if value is None else nn.Parameter(value, requires_grad=False)
    twin: Flow = copy.deepcopy(flow, memo)
    twin.eval()
    return twin
