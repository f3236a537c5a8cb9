"""The feed contract: where the batches of a training come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples
from flowloom.draw import Draw
from flowloom.errors import DataError
from flowloom.layout import Layout
from flowloom.objectives import Batch
from flowloom.spec import Spec
from flowloom.state import float_dtype, with_batch

if TYPE_CHECKING:
    from flowloom.flow import Flow


@dataclass(frozen=True)
class Feeding:
    """What a feed is told once, before the first batch.

    Args:
        flow: whose codec, source and coupling make batches of examples; a feed never calls its model here.
        size: rows a batch.
        seed: of the run.
        device: where batches go.
    """

    flow: Flow
    size: int
    seed: int = 0
    device: torch.device | str = "cpu"


class Feed(ABC):
    """Gives the k-th batch of a training, as a function of k and a generator that belongs to k.

    That is what makes a run resumable, and lets batches be prepared ahead in a thread: batches may be asked
    for in any order, by two threads at once. A feed that must look
    at the model (a replay buffer, self-generated data) does so in `refresh` only, between two steps.

    Attributes:
        refresh_every: steps between looks at the model; 0 for never.
        reads_files: True where drawing a batch waits for a disk.
    """

    refresh_every: int = 0
    reads_files: bool = False

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Of the examples."""

    def examples(self) -> Dataset | None:
        """Rows of data as batches show them, to fit parts on and to look at; None where there are none."""
        return None

    def start(self, feeding: Feeding) -> None:
        """Remember what batches are made with. Called once, before the first batch."""
        self.feeding = feeding

    @abstractmethod
    def batch(self, number: int, generator: torch.Generator) -> Batch:
        """Batch ``number`` (counted from 0); the same one whenever it is asked for."""

    def refresh(self, flow: Flow, step: int, generator: torch.Generator) -> Mapping[str, float]:
        """Look at the flow before step ``step``; returns what to log. The flow is in evaluation mode."""
        return {}

    def tensors(self) -> Mapping[str, Tensor]:
        """State that a checkpoint must hold, tensors of any shape by name."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the state of a checkpoint."""
        if tensors:
            raise DataError(f"{type(self).__name__} keeps no state, and the checkpoint has {sorted(tensors)}")


@torch.no_grad()
def coupled(feeding: Feeding, examples: Examples, generator: torch.Generator) -> Batch:
    """Examples of data as a batch: encoded, with noise, coupled. What every feed of data ends with.

    Where the objective encodes by itself, x1 stays data and x0 is the noise that its states would start from.

    Args:
        feeding: as `Feed.start` received it.
        examples: data with their conditions.
        generator: of everything drawn.
    """
    flow = feeding.flow
    examples = examples.to(feeding.device)
    examples = replace(examples, cond=flow.spec.told(examples.cond))
    if flow.objective.encodes:
        examples = flow.formed(examples)  # which encoding does by itself
        spec = flow.spec if flow.codec is None else flow.codec.data_spec
        shape = with_batch(flow.spec.event_shape(), len(examples))
        dtype = float_dtype(examples.x)
        x0 = flow.source.noise(shape, Draw(generator, device=feeding.device, dtype=dtype), cond=examples.cond)
        return Batch(x0, examples.x, examples.cond, Layout.of(spec, examples.cond))
    return paired(feeding, flow.encode(examples, generator), generator)


@torch.no_grad()
def paired(feeding: Feeding, states: Examples, generator: torch.Generator) -> Batch:
    """Examples that are states already as a batch: given noise, and coupled.

    Args:
        feeding: as `Feed.start` received it.
        states: as the flow's codec encodes them, on the device of the flow.
        generator: of everything drawn.
    """
    flow = feeding.flow
    x0 = flow.noise_for(states, generator)
    layout = flow.layout(states.cond)
    x0 = flow.coupling.pair(x0, states.x, states.cond, layout, generator=generator)
    return Batch(x0, states.x, states.cond, layout)


def spec_told(shape: Sequence[int] | Mapping[str, Sequence[int]], vocab: int | None) -> Spec:
    """The spec of states of which there are no data.

    Args:
        shape: event shape, or one for every part.
        vocab: number of tokens where states are tokens.
    """
    if isinstance(shape, Mapping):
        return Spec(parts={name: Spec(tuple(s), vocab) for name, s in shape.items()})
    return Spec(tuple(shape), vocab)
