r"""Network calls split by rows among processes that otherwise compute alike.

Every process holds the same batch. A network is called with this process's rows of it, and its answers are
gathered again, so that whatever surrounds the call (objective, solver, metric) sees the whole batch and never
learns of the others. Two maps do this, S (take own rows) and G (gather), each the transpose of the other up
to the number of processes N:

.. math:: G^\top = N\, S, \qquad S^\top = \tfrac1N G

What all processes hold alike then has its whole gradient in each of them, and what depends on own rows alone
has N times its share of it: the *mean* over processes is right for every parameter, whether it was reached
inside a call, outside, or both. Derivatives of any order, forward ones too (``torch.func.jvp``), are made of
the same two maps.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

from flowloom.models.overheard import hear_through
from flowloom.seeds import derive
from flowloom.training.parallel.world import World

__all__ = ["SplitRows"]


class SplitRows:
    """Splits the calls of some networks by rows; calls inside calls, and in other threads, are as they were.

    What a network draws by itself (dropout) it draws in every process anew.

    Args:
        networks: whose rows do not see each other; those that say otherwise (``batch_independent = False``)
            are called whole in every process.
        world: of the processes.
    """

    def __init__(self, networks: list[nn.Module], world: World) -> None:
        self.world = world
        self.thread = threading.get_ident()
        self.inside: list[tuple[nn.Module, int]] = []
        self.seed, self.calls = 0, 0
        self._handles: list[RemovableHandle] = []
        # Here and not as decorators: these import the compiler, which takes a second of every start.
        before, after = torch.compiler.disable(self.before), torch.compiler.disable(self.after)
        for network in networks:
            if getattr(network, "batch_independent", True):
                self._handles += [
                    network.register_forward_pre_hook(before, with_kwargs=True),
                    network.register_forward_hook(after),
                ]

    def __deepcopy__(self, memo: object) -> SplitRows:
        # Hooks of a copied network (an averaged twin) are the same ones.
        return self

    def begin(self, seed: int) -> None:
        """Begin a loss; what networks draw in it is a function of ``seed``, the process and the call."""
        self.seed, self.calls = seed, 0
        self._forget()

    def close(self) -> None:
        """Leave the networks as they were."""
        self._forget()
        for handle in self._handles:
            handle.remove()

    def _forget(self) -> None:
        # A call that failed never came to its end.
        self.inside.clear()
        hear_through(None)

    def before(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Hand a call its own rows."""
        n = _rows(args)
        if self.inside or n < self.world.size or threading.get_ident() != self.thread:
            return None
        self.inside.append((network, n))
        low, high = self.world.rows(n)
        hear_through(lambda said: _gathered(said, n, self.world, high - low))
        self.calls += 1
        _seed(derive(self.seed, f"rows/{self.world.rank}", self.calls))

        def own(value: Any) -> Any:
            split = isinstance(value, Tensor) and value.ndim > 0 and len(value) == n
            return _own_rows(value, self.world) if split else value

        return tree_map(own, args), tree_map(own, kwargs)

    def after(self, network: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Gather the answers of all processes."""
        if not self.inside or self.inside[-1][0] is not network or threading.get_ident() != self.thread:
            return None
        _, n = self.inside.pop()
        hear_through(None)
        _seed(derive(self.seed, "rows", self.calls))
        return _gathered(output, n, self.world)


def _gathered(said: Any, n: int, world: World, own: int | None = None) -> Any:
    """All ``n`` rows of what has this process's; of what has ``own`` rows alone, where that is told."""

    def every(value: Any) -> Any:
        rows = isinstance(value, Tensor) and (own is None or (value.ndim > 0 and len(value) == own))
        return _all_rows(value, n, world) if rows else value

    return tree_map(every, said)


def _own_rows(x: Tensor, world: World) -> Any:
    return _Own.apply(x, world)  # type: ignore[no-untyped-call]


def _all_rows(x: Tensor, n: int, world: World) -> Any:
    return _All.apply(x, n, world)  # type: ignore[no-untyped-call]


class _Own(torch.autograd.Function):
    """S: this process's rows of a tensor that all have alike."""

    @staticmethod
    def forward(x: Tensor, world: World) -> Tensor:
        low, high = world.rows(len(x))
        return x[low:high].clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, World], output: Tensor) -> None:
        ctx.n, ctx.world = len(inputs[0]), inputs[1]
        if not output.is_floating_point():
            ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _all_rows(gradient, ctx.n, ctx.world) / ctx.world.size, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Any:
        return _own_rows(tangent, ctx.world)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, None], x: Tensor, world: World) -> tuple[Tensor, int]:
        assert dims[0] is not None
        return _own_rows(x.movedim(dims[0], 1), world), 1


class _All(torch.autograd.Function):
    """G: the rows of all processes, from the share of each."""

    @staticmethod
    def forward(x: Tensor, n: int, world: World) -> Tensor:
        return world.gathered(x, n)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, World], output: Tensor) -> None:
        _, ctx.n, ctx.world = inputs
        if not output.is_floating_point():
            ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _own_rows(gradient, ctx.world) * ctx.world.size, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Any:
        return _all_rows(tangent, ctx.n, ctx.world)

    @staticmethod
    def vmap(
        info: Any, dims: tuple[int | None, None, None], x: Tensor, n: int, world: World
    ) -> tuple[Tensor, int]:
        assert dims[0] is not None
        return _all_rows(x.movedim(dims[0], 1), n, world), 1


def _rows(args: tuple[Any, ...]) -> int:
    """Rows of the state, which is the first argument; 0 where there is none."""
    state: Any = args[0] if args else None
    while isinstance(state, dict) and state:
        state = next(iter(state.values()))
    return len(state) if isinstance(state, Tensor) and state.ndim else 0


def _seed(value: int) -> None:
    torch.manual_seed(value) if torch.cuda.is_available() else torch.default_generator.manual_seed(value)
