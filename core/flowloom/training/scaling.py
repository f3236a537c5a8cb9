"""Losses made large before they are differentiated in float16, and gradients made small again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from flowloom.errors import RunError

_STATE = ("scale", "_growth_tracker")


class Scaling:
    """torch's GradScaler for the optimisers of one player; nothing at all where it is off.

    Args:
        device: where gradients are.
        on: whether anything is scaled.
    """

    def __init__(self, device: torch.device, on: bool) -> None:
        self.scaler = torch.amp.GradScaler(device.type) if on else None
        self._overflowed = False

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to differentiate."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def unscale(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Make gradients those of the loss itself."""
        for optimizer in optimizers if self.scaler is not None else ():
            assert self.scaler is not None
            self.scaler.unscale_(optimizer)
        # GradScaler passes over one optimiser by itself; those of one player move together or not at all.
        several = self.scaler is not None and len(optimizers) > 1
        self._overflowed = several and not all(
            bool(grad.isfinite().all()) for optimizer in optimizers for grad in _gradients(optimizer)
        )

    def step(self, optimizers: Sequence[torch.optim.Optimizer]) -> bool:
        """Move, unless a gradient overflowed: then the scale shrinks. Returns whether it moved."""
        if self.scaler is None:
            for optimizer in optimizers:
                optimizer.step()
            return True
        before = self.scaler.get_scale()
        for optimizer in optimizers if not self._overflowed else ():
            self.scaler.step(optimizer)
        self.scaler.update()
        return self.scaler.get_scale() >= before

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold."""
        if self.scaler is None:
            return {}
        state = self.scaler.state_dict()
        return {f"scaling.{name}": torch.tensor(state[name], dtype=torch.float64) for name in _STATE}

    def restore(self, tensors: Mapping[str, Tensor], origin: object) -> None:
        """Take up what `state` gave.

        Raises:
            RunError: it was not saved.
        """
        if self.scaler is None:
            return
        if any(f"scaling.{name}" not in tensors for name in _STATE):
            raise RunError(f"{origin} does not fit train.precision fp16: it has no scale of the losses")
        found = {name: tensors[f"scaling.{name}"].item() for name in _STATE}
        self.scaler.load_state_dict(
            {
                **self.scaler.state_dict(),
                "scale": found["scale"],
                "_growth_tracker": int(found["_growth_tracker"]),
            }
        )


def _gradients(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from (p.grad for p in group["params"] if p.grad is not None)
