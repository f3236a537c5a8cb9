r"""Combiners: one descent from several named losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from flowloom.errors import TrainingError
from flowloom.training.parallel.world import averaged


class Combiner(ABC):
    """Makes one gradient of the gradients of several losses.

    Attributes:
        linear: True where the combination is linear in the gradients. One that is not averages those of each
            loss over the processes of a training before it combines them (`parallel.averaged`).
    """

    linear: bool = False

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The scalar whose gradient a linear combination is."""
        raise NotImplementedError(f"{type(self).__name__} is not linear")

    @abstractmethod
    def backward(self, losses: Mapping[str, Tensor], parameters: list[Tensor]) -> Tensor:
        """Add the combined gradient to ``.grad`` of the parameters, and of nothing else.

        Args:
            losses: scalars by name.
            parameters: what descends.

        Returns:
            The scalar to log as ``loss``, detached.
        """


class Sum(Combiner):
    """The weighted sum of the losses.

    Args:
        weights: by name of the loss, 1 where absent.
    """

    linear = True

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self.weights = dict(weights or {})

    def backward(self, losses: Mapping[str, Tensor], parameters: list[Tensor]) -> Tensor:
        """One backward pass over the sum.

        Raises:
            TrainingError: ``weights`` names a loss that there is not.
        """
        total = self.total(losses)
        total.backward(inputs=parameters)
        return total.detach()

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum itself."""
        require_known(self.weights, losses)
        return torch.stack([self.weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()


class ConFIG(Combiner):
    r"""Conflict-free: the combined gradient has the same positive cosine with every loss's gradient.

    .. math::
        \hat g = \mathcal{U}\big[ (\mathcal U[g_1], \ldots, \mathcal U[g_m])^{-\top} \mathbf 1 \big], \qquad
        g = \Big( \sum_i g_i^\top \hat g \Big)\, \hat g

    with :math:`\mathcal U[g] = g / |g|` and the pseudo-inverse (Liu, Chu and Thuerey 2408.11104, equations 2
    and 3). Where gradients are parallel it is their sum; a gradient of 0 takes no part. It costs one backward
    pass a loss.

    Args:
        weights: by name of the loss, relative cosines; 1 where absent.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self.weights = dict(weights or {})
        if any(w <= 0 for w in self.weights.values()):
            raise ValueError(f"weights are relative cosines and must be positive, got {self.weights}")

    def backward(self, losses: Mapping[str, Tensor], parameters: list[Tensor]) -> Tensor:
        """One backward pass a loss, then the combination; returns the sum of the losses."""
        require_known(self.weights, losses)
        rows = []
        for i, loss in enumerate(losses.values()):
            grads = torch.autograd.grad(
                loss, parameters, retain_graph=i < len(losses) - 1, allow_unused=True, materialize_grads=True
            )
            rows.append(torch.cat([g.reshape(-1).float() for g in grads]))
        wanted = torch.tensor([self.weights.get(name, 1.0) for name in losses], device=rows[0].device)
        combined = conflict_free(averaged(torch.stack(rows)), wanted)
        start = 0
        for p in parameters:
            piece = combined[start : start + p.numel()].reshape(p.shape).to(p.dtype)
            p.grad = piece.clone() if p.grad is None else p.grad + piece
            start += p.numel()
        return torch.stack([loss.detach() for loss in losses.values()]).sum()


def conflict_free(gradients: Tensor, weights: Tensor) -> Tensor:
    """ConFIG's combination of the rows of ``gradients`` ``(m, d)``: ``(d,)``; see `ConFIG`.

    Args:
        gradients: one gradient a row.
        weights: relative cosines of the result with each row, ``(m,)``.
    """
    lengths = gradients.norm(dim=1)
    kept = lengths > 0
    if not bool(kept.any()):
        return gradients.sum(0)
    units = gradients[kept] / lengths[kept, None]
    direction = torch.linalg.pinv(units.double()) @ weights[kept].double()
    length = direction.norm()
    if not bool(length > 1e-8):  # exactly opposite gradients have no common descent
        return torch.zeros_like(gradients[0])
    unit = (direction / length).to(gradients.dtype)
    return (gradients @ unit).sum() * unit


def require_known(weights: Mapping[str, float], losses: Mapping[str, Tensor]) -> None:
    """Ask that every weight has a loss.

    Raises:
        TrainingError: names the first that has none.
    """
    for name in weights:
        if name not in losses:
            raise TrainingError(f"train.combine weighs '{name}'; the losses are {', '.join(losses)}")
