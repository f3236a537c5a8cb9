"""Networks that begin with the weights of a smaller one."""

from __future__ import annotations

import torch
from torch import nn

from flowloom.errors import IncompatibleError

__all__ = ["go_on_from"]


@torch.no_grad()
def go_on_from(network: nn.Module, before: nn.Module) -> None:
    """All weights of a network that was trained before, in one that has further layers.

    Args:
        network: whose weights of the same names are written over.
        before: whose weights they become.

    Raises:
        IncompatibleError: ``before`` has weights that the network lacks, or of other shapes.
    """
    ours = network.state_dict()
    for name, theirs in before.state_dict().items():
        mine = ours.get(name)
        if mine is None or mine.shape != theirs.shape:
            have = "none" if mine is None else f"one of {tuple(mine.shape)}"
            raise IncompatibleError(
                f"pretrained has the weight {name} of {tuple(theirs.shape)}, and the network {have}: width, "
                "depth, bands and what stands beside the frames are to be those of the pre-trained network"
            )
    network.load_state_dict(before.state_dict(), strict=False)
