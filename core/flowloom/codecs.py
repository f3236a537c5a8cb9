"""Codecs: raw data to states and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from flowloom.data.base import Dataset, Examples
from flowloom.errors import DataError
from flowloom.layout import Layout, moments
from flowloom.spec import Spec
from flowloom.state import Cond, State, sum_event

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["Codec", "Identity", "Standardize", "StateCodec"]


class Codec(nn.Module, ABC):
    """Maps examples of data to examples of states, and back.

    A codec sees and may change conditions as well as states. It is a module of the flow: what it has fitted
    or learned moves with it and is saved with the run. In a flow its parameters are frozen, unless the
    objective says that it `encodes` by itself and trains them.

    Args:
        spec: of the data; injected from the recipe.

    Attributes:
        lossy: True where decoding does not give back what was encoded. Evaluation then shows held-out data
            that went through the codec as a column: no flow behind it can be better.
        decoding: arguments of the constructor that only `decode` and `compared` look at, such as a vocoder.
            The weights of a run may be asked with others than those that it was trained beside.
    """

    lossy: ClassVar[bool] = False
    decoding: ClassVar[tuple[str, ...]] = ()

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.data_spec = spec

    @property
    def spec(self) -> Spec:
        """Spec of the states; the data's where a codec does not change it."""
        return self.data_spec

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Fit on the training split, results in buffers. Called once, before training.

        Args:
            data: training rows, None where a recipe has none.
            flow: that the codec is part of.
            generator: of everything drawn.
        """

    @abstractmethod
    def encode(self, examples: Examples, generator: torch.Generator | None = None) -> Examples:
        """Data ``(batch, *data)`` to states ``(batch, *event)``, with their conditions.

        Args:
            examples: data, on the device of the codec.
            generator: of everything drawn (a posterior sample, dequantisation); never the global one.
        """

    @abstractmethod
    def decode(self, examples: Examples) -> Examples:
        """States to data, with their conditions."""

    def compared(self, examples: Examples) -> Mapping[str, Examples]:
        """What other decoders than its own make of states, by name: columns beside that of its own decoder.

        None by default. They say how much of a table is the decoder's merit (Griffin-Lim beside a vocoder).
        """
        return {}

    def encode_conditions(self, cond: Cond) -> Cond:
        """Conditions of data as conditions of states, where they come without examples: to sample under.

        As they are by default. A codec whose states are laid out differently (frames for samples of sound)
        does here to conditions what its `encode` does to them, and leaves alone what `decode` gives back.

        Args:
            cond: conditions of data, on the device of the codec; some may be missing.
        """
        return cond

    def log_det(self, examples: Examples) -> Tensor | None:
        r"""``log |det d encode / d data|`` of every row of data, ``(batch,)``; None where there is none.

        A density of states is one of data after adding it:
        :math:`\log p(x) = \log p(\mathrm{encode}(x)) + \log|\det|`.
        """
        return None


class StateCodec(Codec):
    """Codecs that map the state alone, and leave conditions as they are."""

    @abstractmethod
    def encode_state(self, x: Any) -> State:
        """Data to a state."""

    @abstractmethod
    def decode_state(self, x: Any) -> State:
        """A state to data."""

    def encode(self, examples: Examples, generator: torch.Generator | None = None) -> Examples:
        """The state encoded."""
        return replace(examples, x=self.encode_state(examples.x))

    def decode(self, examples: Examples) -> Examples:
        """The state decoded."""
        return replace(examples, x=self.decode_state(examples.x))


class Identity(StateCodec):
    """Data are states already."""

    def encode_state(self, x: Any) -> State:
        """Return ``x``."""
        return x

    def decode_state(self, x: Any) -> State:
        """Return ``x``."""
        return x

    def log_det(self, examples: Examples) -> Tensor | None:
        """0."""
        x = examples.x
        return x.new_zeros(len(x)) if isinstance(x, Tensor) and x.is_floating_point() else None


class Standardize(StateCodec):
    """Subtract the mean and divide by the standard deviation of the training data.

    Args:
        spec: of the data; injected from the recipe.
        per_entry: statistics for every entry of the event, or one pair for all.
        rows: training rows to fit on, at most; evenly spread over all of them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: Spec, per_entry: bool = True, rows: int = 10_000) -> None:
        super().__init__(spec)
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        self.per_entry, self.rows = per_entry, rows
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Measure the training data."""
        if data is None:
            raise DataError("codec standardize measures data, and this recipe has none")
        # Evenly spread: rows of a file are often sorted.
        examples = data.take(data.evenly(self.rows)).laid_out(data.spec)
        x = examples.x
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise DataError(
                "codec standardize takes one real-valued tensor; this data is tokens or a product"
            )
        where = self.mean.device
        axes = (0,) if self.per_entry else tuple(range(x.ndim))
        mean, std = moments(x, examples.layout, axes)
        # A constant entry (an image's border) keeps its scale instead of dividing by zero. What rounding of
        # its values may leave says how little is none.
        dtype = torch.promote_types(x.dtype, torch.float32)
        flat = std <= 4 * torch.finfo(x.dtype).eps * mean.abs()
        std = torch.where(flat, torch.ones_like(std), std)
        self.mean, self.std = mean.to(where, dtype), std.to(where, dtype)

    def encode_state(self, x: Tensor) -> Tensor:
        """``(x - mean) / std``."""
        return (x - self.mean) / self.std

    def decode_state(self, x: Tensor) -> Tensor:
        """``x std + mean``."""
        return x * self.std + self.mean

    def log_det(self, examples: Examples) -> Tensor | None:
        """``-sum log std`` over the real entries of a row."""
        x = examples.x
        assert isinstance(x, Tensor)
        entries, layout = -self.std.log().expand(x.shape), Layout.of(self.data_spec, examples.cond)
        return sum_event(entries if layout is None else layout.zero(entries))
