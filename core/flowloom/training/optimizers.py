"""Optimisers: settings from which torch's own are made, for the parameters of one turn."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from flowloom.errors import IncompatibleError

Groups = Sequence[dict[str, Any]]
"""Parameter groups as torch takes them: ``params`` and ``lr`` each."""


class Optimizer(ABC):
    """Makes torch optimisers. The learning rate is the training's; everything else is set here."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in vars(self).items())})"

    @abstractmethod
    def build(self, groups: Groups) -> Sequence[torch.optim.Optimizer]:
        """One optimiser, or several where parameters of different shape want different ones.

        Args:
            groups: ``{"params": [...], "lr": ...}``, none of them empty.
        """


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 1711.05101).

    Args:
        betas: decays of the two moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled.
    """

    def __init__(
        self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        _check(betas, eps, weight_decay)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def build(self, groups: Groups) -> Sequence[torch.optim.Optimizer]:
        """Fused where all parameters can be."""
        return [
            torch.optim.AdamW(
                list(groups),
                betas=self.betas,
                eps=self.eps,
                weight_decay=self.weight_decay,
                fused=_fusible(groups),
            )
        ]


class Adam(Optimizer):
    """Adam (Kingma and Ba 1412.6980); weight decay is added to the gradient.

    Args:
        betas: decays of the two moments.
        eps: added to the root of the second moment.
        weight_decay: factor of the L2 penalty's gradient.
    """

    def __init__(
        self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        _check(betas, eps, weight_decay)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def build(self, groups: Groups) -> Sequence[torch.optim.Optimizer]:
        """Fused where all parameters can be."""
        return [
            torch.optim.Adam(
                list(groups),
                betas=self.betas,
                eps=self.eps,
                weight_decay=self.weight_decay,
                fused=_fusible(groups),
            )
        ]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    Args:
        momentum: 0 for none.
        nesterov: look ahead along the momentum.
        weight_decay: factor of the L2 penalty's gradient.
    """

    def __init__(self, momentum: float = 0.9, nesterov: bool = False, weight_decay: float = 0.0) -> None:
        _check((momentum, 0.0), 1.0, weight_decay)
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay

    def build(self, groups: Groups) -> Sequence[torch.optim.Optimizer]:
        """One optimiser for all."""
        return [
            torch.optim.SGD(
                list(groups),
                momentum=self.momentum,
                nesterov=self.nesterov,
                weight_decay=self.weight_decay,
            )
        ]


class Muon(Optimizer):
    """Momentum orthogonalised by Newton-Schulz for weight matrices, AdamW for everything else.

    Jordan et al. 2024, "Muon"; with ``adjust_lr_fn = "match_rms_adamw"`` (Liu et al. 2502.16982) updates have
    AdamW's size, so that both share one learning rate. Matrices are parameters of two dimensions; embedding
    tables and the last layer are matrices too, and `train.turns` can hand them to a turn of their own.

    Args:
        momentum: of the matrices.
        betas: of AdamW.
        weight_decay: decoupled, of both.

    Raises:
        IncompatibleError: this torch has no Muon (it came with 2.9).
    """

    def __init__(
        self,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise IncompatibleError(f"torch {torch.__version__} has no Muon; use optimizer: adamw")
        _check(betas, 1.0, weight_decay)
        self.momentum, self.weight_decay = momentum, weight_decay
        self.rest = AdamW(betas, weight_decay=weight_decay)

    def build(self, groups: Groups) -> Sequence[torch.optim.Optimizer]:
        """One for matrices, one for the rest; either only where it has parameters."""
        matrices, rest = (
            [
                {**group, "params": chosen}
                for group in groups
                if (chosen := [p for p in group["params"] if (p.ndim == 2) == wanted])
            ]
            for wanted in (True, False)
        )
        built: list[torch.optim.Optimizer] = []
        if matrices:
            built.append(
                torch.optim.Muon(
                    matrices,
                    momentum=self.momentum,
                    weight_decay=self.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        return [*built, *self.rest.build(rest)] if rest else built


def _fusible(groups: Groups) -> bool:
    parameters: list[nn.Parameter] = [p for group in groups for p in group["params"]]
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


def _check(betas: tuple[float, float], eps: float, weight_decay: float) -> None:
    if not all(0 <= b < 1 for b in betas):
        raise ValueError(f"decays of moments lie in [0, 1), got {betas}")
    if not (0 < eps < math.inf and 0 <= weight_decay < math.inf):
        raise ValueError(f"eps must be positive and weight_decay not negative, got {eps} and {weight_decay}")
