"""The operator contract: what is measured of data, and how a measurement is brought back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom.state import Cond

__all__ = ["Operator"]


class Operator(ABC):
    r"""A measurement :math:`y = A(x)` of data that are one real tensor ``(batch, *event)``.

    What differs from row to row (the place of a hole) is drawn once, travels beside the rows by name, and is
    handed to every method as ``drawn``.

    Attributes:
        linear: whether A is; then `adjoint` exists.
    """

    linear: ClassVar[bool] = True

    def require(self, spec: Spec) -> None:
        """Refuse data that cannot be measured so.

        Raises:
            IncompatibleError: they are no single real tensor of one size; says what would fit.
        """
        if spec.parts or spec.vocab is not None or not spec.shape:
            raise IncompatibleError(
                f"{type(self).__name__} measures data that are one tensor of real numbers; these are "
                f"{'a product' if spec.parts else 'tokens' if spec.vocab is not None else 'single numbers'}"
            )
        if spec.ragged:
            raise IncompatibleError(
                f"{type(self).__name__} measures rows of one size, and these are padded to the longest"
            )

    def draw(self, rows: Examples, spec: Spec, generator: torch.Generator) -> dict[str, Tensor]:
        """What is drawn for every row, by name; nothing where all rows are measured alike."""
        return {}

    @abstractmethod
    def __call__(self, x: Tensor, drawn: Cond) -> Tensor:
        """``A(x)``, differentiable in ``x``."""

    @abstractmethod
    def back(self, y: Tensor, drawn: Cond) -> Tensor:
        """``A^+ y``: of the data that measure so, those of the smallest norm."""

    @abstractmethod
    def settle(self, x: Tensor, y: Tensor, drawn: Cond, trust: float = 0.0) -> Tensor:
        r"""The answer next to ``x``: :math:`\arg\min_u \mathrm{trust}\,\|u - x\|^2 + \|A u - y\|^2`.

        Args:
            x: data ``(batch, *event)``.
            y: their measurement.
            drawn: what was drawn for the rows.
            trust: in ``x``; 0 is the projection onto the data that measure y.
        """

    def adjoint(self, y: Tensor, drawn: Cond) -> Tensor:
        """``A^T y``.

        Raises:
            IncompatibleError: the measurement is not linear.
        """
        raise IncompatibleError(f"{type(self).__name__} is not linear, and has no adjoint")

    def measured(self, y: Tensor, drawn: Cond) -> Tensor | None:
        """Which entries of ``y`` were measured at all, boolean in its shape; all where None."""
        return None

    def known(self, y: Tensor, drawn: Cond) -> Tensor | None:
        """Which entries of the data ``y`` tells as they are, but for its noise, boolean; None where none."""
        return None
