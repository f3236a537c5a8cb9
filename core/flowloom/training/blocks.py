"""The networks of a flow, and the blocks that they are made of: what is split, sharded and recomputed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from flowloom.models.critic import Critic

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["blocks_of", "networks_of", "recompute"]


def networks_of(flow: Flow) -> list[nn.Module]:
    """The model, the roles and every critic, each once; none that is inside of another one of them."""
    critics = [m for m in flow.objective.modules() if isinstance(m, Critic)]
    found = list(dict.fromkeys([flow.model, *flow.roles.values(), *critics]))
    inside = {id(m) for network in found for m in network.modules() if m is not network}
    return [network for network in found if id(network) not in inside]


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The outermost modules with parameters that a network keeps in lists; none where it has no lists."""
    found: list[nn.Module] = []
    for module in network.children():
        found += _listed(module) if isinstance(module, nn.ModuleList) else blocks_of(module)
    return list(dict.fromkeys(found))


def _listed(modules: nn.ModuleList) -> list[nn.Module]:
    found: list[nn.Module] = []
    for module in modules:
        if isinstance(module, nn.ModuleList) and type(module).forward is nn.ModuleList.forward:
            found += _listed(module)  # a list of lists, which nobody calls
        elif any(True for _ in module.parameters()):
            found.append(module)
    return found


def recompute(network: nn.Module) -> None:
    """Keep only what enters the blocks of a network, and compute the rest again on the way back.

    A network without blocks is one. Inside ``torch.func`` nothing is recomputed, as its transforms cannot.
    """
    for block in blocks_of(network) or [network]:
        block.forward = partial(_again, block.forward)


def _again(forward: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
