"""LoRA: a trained network whose layers move by matrices of low rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from flowloom.models import Model, speak_for
from flowloom.spec import Spec
from flowloom.state import State, Time

__all__ = ["LowRank"]


class _Added(nn.Module):
    """``W + (scale / rank) B A``, with B = 0 at the beginning."""

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        rows, columns = len(weight), weight[0].numel()
        rank = min(rank, rows, columns)
        self.down = nn.Parameter(torch.empty(rank, columns, dtype=weight.dtype, device=weight.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, dtype=weight.dtype, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.factor = scale / rank

    def forward(self, weight: Tensor) -> Tensor:
        """The weight in use."""
        return weight + self.factor * (self.up @ self.down).reshape(weight.shape)


class LowRank(nn.Module):
    r"""Any network, of which only additions of low rank are trained (LoRA, Hu et al. 2106.09685).

    .. math:: W = W_0 + \tfrac{s}{r} B A, \qquad A \in R^{r \times n},\ B \in R^{m \times r}

    in every linear and convolutional layer; those that ``whole`` names, by patterns of their names, are
    trained as they are (2506.02221 trains the first and the last layer so). Everything else is frozen.

    Args:
        spec: of the states; injected from the recipe.
        network: that begins as it was trained, ``{run: base, part: model, frozen: false}``.
        rank: r.
        scale: s; r where null.
        whole: patterns of layers to train whole, such as ``["*inner.0", "*out"]``.

    Raises:
        ValueError: the rank is no rank, or a pattern fits no layer.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        network: Model,
        rank: int = 4,
        scale: float | None = None,
        whole: Sequence[str] = (),
    ) -> None:
        super().__init__()
        assert isinstance(network, nn.Module)
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        if scale is not None and not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        self.spec, self.network = spec, network
        layers = {
            n: m for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)
        }
        for pattern in whole:
            if not any(fnmatchcase(name, pattern) for name in layers):
                raise ValueError(f"whole: '{pattern}' fits no layer; there are {', '.join(layers) or 'none'}")
        network.requires_grad_(False)
        for name, layer in layers.items():
            if any(fnmatchcase(name, pattern) for pattern in whole):
                layer.requires_grad_(True)
            else:
                added = _Added(layer.weight, rank, float(rank if scale is None else scale))
                parametrize.register_parametrization(layer, "weight", added)
        speak_for(self, network)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """As the network."""
        out: State = self.network(x, t, **cond)
        return out
