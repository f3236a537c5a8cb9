"""What a module inside a network says while the network answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from flowloom.errors import IncompatibleError

__all__ = ["hear_through", "overhear"]

T = TypeVar("T")

_through = threading.local()


def hear_through(gather: Callable[[Any], Any] | None) -> None:
    """What `overhear` makes of what it hears in this thread, from now on; nothing where None.

    Whoever splits the rows of a network's call among processes gathers here what is said inside it.
    """
    _through.gather = gather


def overhear(
    network: nn.Module, name: str, ask: Callable[[], T], *, kind: str = "module", who: str = ""
) -> tuple[T, Any]:
    """The answer of ``ask``, and what the module ``name`` of a network last answered meanwhile.

    Args:
        network: the network, not compiled.
        name: dotted name of the module in it: ``blocks.1``; the network itself where empty.
        ask: asks the network.
        kind: what the error calls the module.
        who: what the error calls the network; its class where empty.

    Returns:
        Both; None in place of the second where the module was not called.

    Raises:
        IncompatibleError: the network has no such module.
    """
    try:
        inside = network.get_submodule(name)
    except AttributeError as error:
        names = ", ".join(one for one, _ in network.named_modules() if one.count(".") == 1)
        raise IncompatibleError(
            f"{who or type(network).__name__} has no {kind} {name!r}; it has {names[:200]}"
        ) from error
    heard: list[Any] = [None]
    here = threading.get_ident()

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        # Others may ask the same network meanwhile.
        if threading.get_ident() == here:
            gather = getattr(_through, "gather", None)
            heard[0] = output if gather is None else gather(output)

    handle = inside.register_forward_hook(keep)
    try:
        answer = ask()
    finally:
        handle.remove()
    return answer, heard[0]
