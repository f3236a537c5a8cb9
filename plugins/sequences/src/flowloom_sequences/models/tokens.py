"""The way in and out of every backbone: token ids or simplex points to vectors, vectors to logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError, ShapeError
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.spec import Spec
from flowloom.state import State


def sequence_shape(spec: Spec, who: str) -> tuple[int, int]:
    """Length and vocabulary of a spec of tokens ``(L,)`` or of simplex points ``(L, K)``.

    Raises:
        IncompatibleError: the data are neither.
    """
    if spec.vocab is not None and len(spec.shape) == 1 and not spec.parts:
        return spec.shape[0], spec.vocab
    if spec.vocab is None and len(spec.shape) == 2 and not spec.parts:
        return spec.shape[0], spec.shape[1]
    what = f"the parts {sorted(spec.parts)}" if spec.parts else f"states of shape {spec.shape}"
    raise IncompatibleError(
        f"{who} reads token sequences (L,) or simplex points (L, K), and the data has {what}"
    )


class TokenInput(nn.Module):
    """Embeds token ids, the mask among them, or rows of probabilities by one table.

    A row of probabilities becomes the mean of the table's vectors, so that a vertex and its token id are
    the same input and one network serves every kind of sequence flow. Rows that are no probabilities
    (CatFlow's Gaussian noise) go through the same linear map.

    Args:
        vocab: number of tokens; the table has one more row, for the mask.
        width: of the vectors.
        std: of their initial entries. Where blocks add to them, small vectors let context show early: most
            tokens look the same behind masks.
    """

    def __init__(self, vocab: int, width: int, std: float = 1.0) -> None:
        super().__init__()
        self.vocab = vocab
        self.table = nn.Embedding(vocab + 1, width)
        nn.init.normal_(self.table.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        """Ids ``(B, L)`` or rows ``(B, L, K)`` to ``(B, L, width)``.

        Raises:
            ShapeError: an id is out of range (checked on the CPU), or rows have another width.
        """
        if x.is_floating_point():
            if x.shape[-1] != self.vocab:
                raise ShapeError(f"rows of {x.shape[-1]} entries for a vocabulary of {self.vocab}")
            return x @ self.table.weight[: self.vocab]
        if not x.is_cuda and not torch.compiler.is_compiling() and x.numel():
            low, high = int(x.min()), int(x.max())
            if low < 0 or high > self.vocab:
                raise ShapeError(
                    f"token id {low if low < 0 else high} is out of range; this model has ids 0 to "
                    f"{self.vocab - 1} and the mask {self.vocab}"
                )
        return self.table(x)


class Context(nn.Module):
    """Time and conditions as one vector a row, or a token where times differ by token.

    Args:
        spec: of the states; names the conditions.
        width: of the vector.
    """

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.time = TimeEmbedding(width)
        self.condition = ConditionEmbedding(spec.conditions, width)

    def forward(self, t: Tensor, cond: dict[str, Tensor], dtype: torch.dtype) -> Tensor:
        """Times ``(B,)`` or ``(B, L)`` to ``(B, 1, width)`` or ``(B, L, width)``."""
        extra = self.condition(cond, len(t))
        time = self.time(t.to(dtype))
        if time.ndim == 2:
            time = time[:, None]
        return time + (extra[:, None] if isinstance(extra, Tensor) else extra)


def tokens_of(x: State, length: int, who: str) -> Tensor:
    """The state as one tensor, no longer than the model was built for.

    Raises:
        ShapeError: it is a product state, or longer.
    """
    if not isinstance(x, Tensor):
        raise ShapeError(f"{who} reads one tensor of tokens, not the parts {sorted(x)}")
    if x.shape[1] > length:
        raise ShapeError(
            f"a sequence of {x.shape[1]} tokens is longer than the {length} that this {who} was built for; "
            "cut it, or train with a larger length"
        )
    return x
