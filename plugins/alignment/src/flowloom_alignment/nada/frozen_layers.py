"""Which layers of a network a loss would move most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["moving_most"]


class _Partly(nn.Module):
    """A network of which some parameters are constants."""

    def __init__(self, model: nn.Module, still: dict[str, Tensor]) -> None:
        super().__init__()
        self.model, self.still = [model], still

    def forward(self, *given: Any, **cond: Any) -> Any:
        return functional_call(self.model[0], self.still, given, cond)


def moving_most(model: nn.Module, loss: Callable[[nn.Module], Tensor], share: float) -> nn.Module:
    """The network with gradients in those layers alone whose codes a loss would move most.

    The adaptive freezing of StyleGAN-NADA: there a layer's code is its entry of W+, and here it is a shift of
    the layer's output; one step of descent moves it as far as its gradient is long. A layer is a module with
    parameters of its own and no modules inside.

    Args:
        model: the network.
        loss: of a network, differentiable.
        share: of the layers that stay free, at least one of them.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if not list(module.children()) and any(p.requires_grad for p in module.parameters(recurse=False))
    }
    codes: dict[str, list[Tensor]] = {name: [] for name in layers}
    handles = []
    for name, module in layers.items():

        def shifted(_: nn.Module, __: Any, out: Tensor, name: str = name) -> Tensor:
            codes[name].append(torch.zeros_like(out, requires_grad=True))
            return out.detach() + codes[name][-1] if not out.requires_grad else out + codes[name][-1]

        handles.append(module.register_forward_hook(shifted))
    try:
        with torch.enable_grad():
            total = loss(model)
    finally:
        for handle in handles:
            handle.remove()
    flat = [code for found in codes.values() for code in found]
    slopes = iter(torch.autograd.grad(total, flat, allow_unused=True))
    moved: dict[str, Tensor] = {}
    for name, found in codes.items():
        told = [s for s in (next(slopes) for _ in found) if s is not None]
        # The code of a layer is one for all its calls.
        moved[name] = torch.stack(told).sum(0).norm() if told else total.detach() * 0
    ranked = sorted(moved, key=lambda name: -float(moved[name]))
    free = set(ranked[: max(1, round(share * len(ranked)))])
    still = {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if name.rpartition(".")[0] not in free
    }
    return _Partly(model, still)
