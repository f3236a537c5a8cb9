"""The module tree that a flow is: what is in it once, what is frozen, what has been left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from flowloom.errors import RunError

__all__ = ["keep_elsewhere", "load_tensors", "modules_outside", "require_same", "set_mode", "tensors"]


_ELSEWHERE: WeakSet[nn.Module] = WeakSet()


def keep_elsewhere(module: nn.Module) -> None:
    """Say that the tensors of a frozen module are kept elsewhere, so that `tensors` passes over them.

    What never changes and lies in another run's folder is not written into every checkpoint. A deep copy is
    a module of its own, which is saved again.
    """
    _ELSEWHERE.update(module.modules())


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and persistent buffer once, by the first dotted name under which it is found.

    Those that are kept elsewhere (`keep_elsewhere`) are left out.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for prefix, part in module.named_modules():
        if part in _ELSEWHERE:
            continue
        own: dict[str, Tensor] = {}
        part._save_to_state_dict(own, f"{prefix}." if prefix else "", keep_vars=True)
        for name, value in own.items():
            if isinstance(value, Tensor) and id(value) not in seen:
                seen.add(id(value))
                found[name] = value
    return found


@torch.no_grad()
def load_tensors(module: nn.Module, values: Mapping[str, Tensor], origin: object) -> None:
    """Write saved tensors into a module of the same structure.

    A buffer that is empty or a single number takes the shape of what is loaded: the sizes of fitted
    statistics are known to the file only.

    Args:
        module: receives them.
        values: as `tensors` gave them.
        origin: for messages.

    Raises:
        RunError: names the first tensor that does not fit.
    """
    require_same(tensors(module), values, origin, type(module).__name__)
    buffers = {
        f"{prefix}.{name}" if prefix else name: (part, name)
        for prefix, part in module.named_modules()
        for name in part._buffers
    }
    for name, target in tensors(module).items():
        value = values[name]
        if target.shape != value.shape and name in buffers:
            owner, short = buffers[name]
            owner._buffers[short] = value.detach().to(target.device, target.dtype, copy=True)
        else:
            target.copy_(value)


def require_same(own: Mapping[str, Tensor], given: Mapping[str, Tensor], origin: object, what: str) -> None:
    """Ask that two sets of tensors have the same names and shapes.

    Raises:
        RunError: names the first tensor that does not fit.
    """
    missing, strangers = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if missing or strangers:
        which = f"lacks {missing[0]}" if missing else f"has {strangers[0]}, which is not there"
        raise RunError(f"{origin} does not fit the {what}: it {which}")
    for name, value in own.items():
        fixed = isinstance(value, nn.Parameter) or (value.numel() > 0 and value.ndim > 0)
        if fixed and value.shape != given[name].shape:
            raise RunError(
                f"{origin} does not fit the {what}: {name} has shape "
                f"{tuple(given[name].shape)} there and {tuple(value.shape)} here"
            )


def set_mode(module: nn.Module, training: bool) -> None:
    """Training or evaluation mode; a subtree whose parameters are all frozen stays in evaluation mode."""
    parameters = list(module.parameters())
    awake = training and (not parameters or any(p.requires_grad for p in parameters))
    module.training = awake
    for child in module.children():
        set_mode(child, awake)


def modules_outside(root: nn.Module, parts: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Networks that parts hold but the tree does not: ``(part, attribute)``. They would be lost.

    Args:
        root: the tree.
        parts: parts by name, modules or not.
    """
    inside = {id(m) for m in root.modules()}
    for name, part in parts.items():
        for attribute, held in vars(part).items() if hasattr(part, "__dict__") else ():
            for value in _each(held):
                if (
                    isinstance(value, nn.Module)
                    and id(value) not in inside
                    and next(_own(value), None) is not None
                ):
                    yield name, attribute


def _own(module: nn.Module) -> Iterator[Any]:
    yield from module.parameters()
    yield from module.buffers()


def _each(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value
    else:
        yield value
