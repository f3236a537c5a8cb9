"""How the gradients of several processes become one: torch's DistributedDataParallel, or FSDP2."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from flowloom.errors import IncompatibleError
from flowloom.objectives import Batch, Loss, Step
from flowloom.parts import tensors
from flowloom.training.blocks import blocks_of, networks_of
from flowloom.training.parallel.config import ParallelConfig
from flowloom.training.parallel.quiet import quiet
from flowloom.training.parallel.rows import SplitRows
from flowloom.training.parallel.world import World

if TYPE_CHECKING:
    from flowloom.flow import Flow
    from flowloom.training.config import TrainConfig
    from flowloom.training.ema import EMA
    from flowloom.training.players import Player

__all__ = ["Engine", "engine_for", "require_parallel"]


class Engine:
    """One process alone; others split the work.

    Args:
        world: of the processes.
        config: of their training.
    """

    shards: bool = False

    def __init__(self, world: World, config: ParallelConfig) -> None:
        self.world, self.config = world, config
        self.split: SplitRows | None = None

    def prepare(self, flow: Flow, ema: EMA | None, device: torch.device) -> None:
        """Take the flow, before anything holds its parameters."""

    def begin(self, modules: Sequence[nn.Module], players: Sequence[Player]) -> None:
        """Take the losses of all turns, and whose parameters they move."""
        self.modules: Sequence[nn.Module] = modules

    def loss(self, index: int, batch: Batch, step: Step, seed: int) -> Loss:
        """The loss of one turn."""
        loss: Loss = self.modules[index](batch, step)
        return loss

    def syncing(self, index: int, last: bool) -> AbstractContextManager[None]:
        """Around the loss and the way back of one batch, the last one before gradients are used or not."""
        return nullcontext()

    def finish(self, player: Player, players: Sequence[Player]) -> None:
        """Make the gradients of a player those of all processes, before they are clipped and used."""

    def close(self) -> None:
        """Leave the networks as they were."""
        if self.split is not None:
            self.split.close()

    def _split(self, flow: Flow) -> None:
        if self.config.batch == "whole":
            self.split = SplitRows(networks_of(flow), self.world)


class Together(Engine):
    """What engines of several processes share."""

    def prepare(self, flow: Flow, ema: EMA | None, device: torch.device) -> None:
        """All begin with the first one's tensors, whatever their parts were fitted to."""
        self.world.take_from_first(list(tensors(flow).values()))
        self._split(flow)

    def loss(self, index: int, batch: Batch, step: Step, seed: int) -> Loss:
        """The loss of one turn."""
        if self.split is not None:
            self.split.begin(seed)
        return super().loss(index, batch, step, seed)


class Replicas(Together):
    """Everything in every process; gradients are averaged while they are computed."""

    def begin(self, modules: Sequence[nn.Module], players: Sequence[Player]) -> None:
        """One DistributedDataParallel a turn, over what it moves."""
        super().begin(modules, players)
        with warnings.catch_warnings():
            # The word that replaces it is not known to the older torch that is supported.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
            # Combiners that are not linear average by themselves, loss by loss.
            self.modules = [
                DistributedDataParallel(
                    _Moved(module, player.parameters), broadcast_buffers=False, find_unused_parameters=True
                )
                if player.linear
                else module
                for module, player in zip(modules, players, strict=True)
            ]

    @contextmanager
    def syncing(self, index: int, last: bool) -> Iterator[None]:
        """Gradients travel with the last batch alone."""
        module = self.modules[index]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*find_unused_parameters")
            with (
                module.no_sync()
                if isinstance(module, DistributedDataParallel) and not last
                else nullcontext()
            ):
                yield

    def finish(self, player: Player, players: Sequence[Player]) -> None:
        """Average what did not travel."""
        if not player.linear:
            self.world.average_([p.grad for p in player.parameters if p.grad is not None])


class Shards(Together):
    """A share of each network's weights, averages and moments in every process, gathered block by block."""

    shards = True

    def prepare(self, flow: Flow, ema: EMA | None, device: torch.device) -> None:
        """Shard the networks, and those of the averaged flow alike."""
        from torch.distributed.device_mesh import init_device_mesh

        super().prepare(flow, ema, device)
        mesh = init_device_mesh(device.type, (self.world.size,))
        if ema is None:
            shard(flow, mesh)
        else:
            twin = ema.averaged
            shard(flow, mesh)
            shard(twin, mesh)
            ema.look_again()

    @contextmanager
    def syncing(self, index: int, last: bool) -> Iterator[None]:
        """Without a warning that is about something else."""
        with quiet():
            yield

    def finish(self, player: Player, players: Sequence[Player]) -> None:
        """Average what no network holds, and forget what reached parameters of other players."""
        from torch.distributed.tensor import DTensor

        own = {id(p) for p in player.parameters}
        for other in players:
            for p in other.parameters:
                if id(p) not in own:
                    p.grad = None
        rest = [p.grad for p in player.parameters if p.grad is not None and not isinstance(p.grad, DTensor)]
        for dtype in {g.dtype for g in rest}:
            self.world.average_([g for g in rest if g.dtype == dtype])


class _Moved(nn.Module):
    """A turn's loss as a module of the parameters that it moves, and of no others."""

    def __init__(self, module: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.moved = nn.ParameterList(parameters)
        self._loss = [module]  # in a list, so that the flow's other tensors are none of this one's

    def forward(self, *args: Any) -> Any:
        """As the module's."""
        return self._loss[0](*args)


def shard(flow: Flow, mesh: Any) -> None:
    """`fully_shard` every block of every network, then the network."""
    from torch.distributed.fsdp import fully_shard

    for network in networks_of(flow):
        if not any(True for _ in network.parameters()):
            continue
        for block in blocks_of(network):
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
        # Said, because a root would else keep what it gathered until it is differentiated.
        fully_shard(network, mesh=mesh, reshard_after_forward=True)


def engine_for(config: ParallelConfig, world: World) -> Engine:
    """The engine of a recipe among so many processes."""
    if config.engine == "fsdp":
        return Shards(world, config)
    return Replicas(world, config) if world.size > 1 else Engine(world, config)


def require_parallel(config: TrainConfig, world: World, rows: int | None, looks: bool = False) -> None:
    """Ask that a training can be shared by these processes.

    Args:
        config: of the training.
        world: of the processes.
        rows: of the data, None where there are none or nobody counts them.
        looks: whether somebody looks at the flow between steps (`Trainer.averaged`).

    Raises:
        IncompatibleError: it cannot; says why.
    """
    if config.parallel.engine == "fsdp":
        if not torch.distributed.is_initialized():
            raise IncompatibleError(
                "train.parallel.engine fsdp shares weights among processes, and this is one alone; start it "
                "with: torchrun --nproc-per-node N -m flowloom_registry run RECIPE (or engine: ddp)"
            )
        if config.combine is not None and not config.combine.linear:
            raise IncompatibleError(
                f"train.combine {type(config.combine).__name__} needs the whole gradient of each loss, and "
                "fsdp keeps a share of it in every process; take train.parallel: {engine: ddp}"
            )
        if config.precision == "fp16":
            raise IncompatibleError(
                "fsdp scales no losses, which train.precision fp16 needs; take precision: bf16"
            )
        if looks and not config.ema:
            raise IncompatibleError(
                "looks at a flow whose weights are sharded are at its averages, and train.ema is 0; set "
                "train.ema, or take train.parallel: {engine: ddp}"
            )
    if world.size == 1:
        return
    if rows is not None and rows < world.size:
        raise IncompatibleError(f"the data have {rows} rows, fewer than there are processes ({world.size})")
    if config.batch % world.size:
        raise IncompatibleError(
            f"train.batch {config.batch} does not divide among {world.size} processes; take a multiple of "
            f"{world.size}, say {-(-config.batch // world.size) * world.size}"
        )
