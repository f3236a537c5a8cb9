"""States cut into tokens."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec

__all__ = ["Patches"]


class Patches:
    """Sequences ``(places, channels)`` and images ``(channels, rows, columns)`` as tokens.

    Args:
        spec: of the states, one tensor of numbers.
        patch: places of a token; of an image, its width in pixels.
        who: is told of in refusals.

    Attributes:
        grid: rows and columns of tokens; a sequence has one column.
        entries: numbers of a token.

    Raises:
        IncompatibleError: the states are of another form, or the patch does not divide them.
    """

    def __init__(self, spec: Spec, patch: int, who: str) -> None:
        require_sizes(patch=patch)
        sides = spec.shape[1:] if len(spec.shape) == 3 else spec.shape[:1]
        if spec.parts or spec.discrete or len(spec.shape) not in (2, 3) or any(n % patch for n in sides):
            raise IncompatibleError(
                f"{who} cuts sequences (places, channels) and images into patches of {patch}, not "
                f"{spec.in_words()}"
            )
        self.shape, self.patch = tuple(spec.shape), patch
        rows, columns = (*(n // patch for n in sides), 1)[:2]
        self.grid, self.entries = (rows, columns), spec.numel() // (rows * columns)

    @property
    def count(self) -> int:
        """Tokens of a state."""
        return self.grid[0] * self.grid[1]

    def cut(self, x: Tensor) -> Tensor:
        """Tokens ``(batch, count, entries)`` of states, row by row."""
        if len(self.shape) == 2:
            return x.reshape(len(x), self.count, self.entries)
        return F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)

    def join(self, tokens: Tensor) -> Tensor:
        """States of tokens ``(batch, count, entries)``."""
        if len(self.shape) == 2:
            return tokens.reshape(len(tokens), *self.shape)
        return F.fold(tokens.transpose(1, 2), self.shape[1:], self.patch, stride=self.patch)

    def spread(self, values: Tensor) -> Tensor:
        """One value a token, ``(batch, count)``, at all of its entries, ``(batch, *shape)``."""
        return self.join(values[..., None].expand(-1, -1, self.entries))
