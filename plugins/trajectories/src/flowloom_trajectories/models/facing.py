"""A network that sees every way in the frame of who walks it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.conditions import withheld
from flowloom.errors import IncompatibleError
from flowloom.models import Model, speak_for
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom_trajectories.turned import turned

__all__ = ["Facing"]


class Facing(nn.Module):
    r"""Turns the plane until the past points along the first axis, asks a network, and turns its answer back.

    With R the rotation that sends :math:`h = p_0 - p_{-k}`, the way of the whole past, to :math:`|h| e_1`,

    .. math:: u(x, t, c) = R^\top \phi(R x, t, R c),

    which turns with the scene whatever the network does (a canonical frame, Kaba et al. 2211.06489): it need
    not learn all directions of walking. Who stands has no direction, and is seen as he is; nor has a row
    whose past is withheld.

    Args:
        spec: of the states ``(steps, 2)``; injected from the recipe.
        network: asked in the turned frame.
        past: the condition ``(observed, 2)`` that says where somebody faces.
        points: other conditions whose last dimension begins with a point; names that the data lack are left
            out.
        still: way of the past, in the unit of the data, below which somebody stands.

    Raises:
        IncompatibleError: the states are no points of the plane, or have no such past.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        network: Model,
        past: str = "past",
        points: tuple[str, ...] = ("neighbours",),
        still: float = 0.2,
    ) -> None:
        super().__init__()
        told = spec.conditions.get(past)
        if spec.parts or spec.vocab is not None or len(spec.shape) != 2 or spec.shape[-1] != 2:
            raise IncompatibleError(
                f"model facing turns ways of points in the plane, (steps, 2), not {spec.event_shape()}"
            )
        if told is None or told.classes is not None or len(told.shape) != 2 or told.shape[-1] != 2:
            raise IncompatibleError(
                f"model facing wants a condition '{past}' (observed, 2) that says where one faces; there "
                f"is {', '.join(spec.conditions) or 'none'}"
            )
        if still <= 0:
            raise ValueError(f"still must be positive, got {still}")
        assert isinstance(network, nn.Module)
        self.spec, self.network, self.past, self.still = spec, network, past, still
        self.points = tuple(name for name in (past, *points) if name in spec.conditions)
        for name in self.points:
            shape = spec.conditions[name].shape
            if not shape or shape[-1] < 2:
                raise IncompatibleError(f"model facing: condition '{name}' of shape {shape} holds no points")
        speak_for(self, network)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """Read a state at a time; see `flowloom.models.Model`."""
        assert isinstance(x, Tensor)
        turn = self._frame(x, cond)
        seen = {name: turned(v, turn.mT) if name in self.points else v for name, v in cond.items()}
        answer = self.network(turned(x, turn.mT), t, **seen)
        return turned(answer, turn)

    def _frame(self, x: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """Rotations ``(batch, 2, 2)``; of one row where nothing says where anybody faces."""
        past = cond.get(self.past)
        if past is None:
            return torch.eye(2, dtype=x.dtype, device=x.device)[None]
        way = (past[:, -1] - past[:, 0]).to(x.dtype)
        length = way.norm(dim=-1, keepdim=True)
        unknown = length < self.still
        off = withheld(cond, self.past)
        if off is not None:
            unknown = unknown | off[:, None]
        ahead = torch.where(unknown, way.new_tensor([1.0, 0.0]), way / length.clamp_min(self.still))
        a, b = ahead.unbind(-1)
        return torch.stack([torch.stack([a, b], -1), torch.stack([-b, a], -1)], 1)
