"""Networks as vectors: one order of the hidden units, flattened, and principal components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowloom.codecs import StateCodec
from flowloom.data import Dataset
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom.state import State
from flowloom_weights.perceptron import Form
from flowloom_weights.rebasin import rebasin

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["WeightVectors"]

_REMEMBERED = 4096


class WeightVectors(StateCodec):
    """Networks of one form to vectors and back.

    Encoding puts hidden units into the order of a reference network (the first of the training split) and
    flattens; with ``components``, vectors are then coordinates along the principal axes of the training
    networks, unscaled. Decoding gives a network that is the same function, with its units in that order, so
    data do not come back as they were, only what they do.

    Args:
        spec: of the networks; injected from the recipe.
        rebasin: whether to order units; False takes networks as they are.
        components: principal axes, fewer than training networks; None for all weights.
    """

    lossy = True
    reference: Tensor
    mean: Tensor
    axes: Tensor

    def __init__(self, spec: Spec, rebasin: bool = True, components: int | None = None) -> None:
        super().__init__(spec)
        if components is not None and components < 1:
            raise ValueError(f"components must be at least 1, got {components}")
        self.form, self.rebasin, self.components = Form.of(spec), rebasin, components
        self._shapes = self.form.shapes()
        self._length = sum(torch.Size(shape).numel() for shape in self._shapes.values())
        self.register_buffer("reference", torch.zeros(self._length))
        self.register_buffer("mean", torch.zeros(self._length))
        self.register_buffer("axes", torch.zeros(components or 0, self._length))
        self._known: dict[tuple[bytes, bytes], Tensor] = {}

    @property
    def spec(self) -> Spec:
        """Vectors, under the conditions of the networks."""
        return Spec((self.components or self._length,), conditions=self.data_spec.conditions)

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Choose the reference, and find the axes.

        Raises:
            DataError: there are no networks, or too few for so many axes.
        """
        if data is None:
            raise DataError("codec weights looks at networks, and this recipe has no data")
        if self.components is not None and self.components >= len(data):
            raise DataError(
                f"{len(data)} networks have at most {len(data) - 1} principal axes, not {self.components}"
            )
        where = self.mean.device
        self.reference = self._flat(data.take(torch.arange(1)).x)[0].to(where)
        if self.components is not None:
            ordered = self._ordered(self._flat(data.all().x)).double()
            mean = ordered.mean(0)
            axes = torch.linalg.svd(ordered - mean, full_matrices=False).Vh[: self.components]
            # The sign of an axis is arbitrary; its largest entry is positive.
            largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
            self.mean = mean.to(self.mean).to(where)
            self.axes = (axes * largest.sign()).to(self.axes).to(where)

    def encode_state(self, x: Mapping[str, Tensor]) -> Tensor:
        """Networks to vectors ``(n, length)``."""
        flat = self._ordered(self._flat(x))
        return flat if self.components is None else (flat - self.mean) @ self.axes.T

    def decode_state(self, x: Tensor) -> State:
        """Vectors to networks."""
        return {**self._parts(x if self.components is None else x @ self.axes + self.mean)}

    def canonical(self, x: Mapping[str, Tensor]) -> Tensor:
        """Networks as flat weights in the order of the reference ``(n, weights)``, whatever is encoded."""
        return self._flat(rebasin(x, self._parts(self.reference[None], one=True)))

    def _flat(self, x: object) -> Tensor:
        assert isinstance(x, Mapping)
        return torch.cat([x[name].flatten(1) for name in self._shapes], 1)

    def _parts(self, flat: Tensor, one: bool = False) -> dict[str, Tensor]:
        pieces = flat.split([torch.Size(shape).numel() for shape in self._shapes.values()], 1)
        found = {
            name: piece.unflatten(1, shape)
            for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)
        }
        return {name: value[0] for name, value in found.items()} if one else found

    def _ordered(self, flat: Tensor) -> Tensor:
        """Flat weights in order; networks that come again (a zoo has few) are not ordered again."""
        if not self.rebasin or not len(flat):
            return flat
        about = self.reference.cpu().numpy().tobytes()
        keys = [(about, row.numpy().tobytes()) for row in flat.detach().cpu().float()]
        if len(self._known) > _REMEMBERED:
            self._known = {}
        fresh = {key: i for i, key in enumerate(keys) if key not in self._known}
        if fresh:
            made = self.canonical(self._parts(flat[list(fresh.values())])).cpu()
            self._known |= dict(zip(fresh, made, strict=True))
        return torch.stack([self._known[key] for key in keys]).to(flat)
