"""Networks that answer with a mixture of velocities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models import MLP
from flowloom.spec import Spec
from flowloom.state import Cond, State
from flowloom_fewstep.mixtures import Mixture

__all__ = ["MixtureMLP", "MixtureModel"]


class MixtureModel(nn.Module, ABC):
    """A network whose answer is a mixture of velocities."""

    @abstractmethod
    def mixture(self, x: Tensor, t: Tensor, cond: Cond) -> Mixture:
        """The law of ``x1 - x0`` at a state."""

    def forward(self, x: State, t: Any, /, **cond: Tensor) -> State:
        """Its mean: the velocity of flow matching."""
        assert isinstance(x, Tensor)
        return self.mixture(x, t, cond).mean


class MixtureMLP(MixtureModel):
    """The reference MLP with a mixture for a head: one over the whole state.

    Args:
        spec: of the states, one tensor of numbers.
        width: of the hidden layers.
        depth: number of hidden layers.
        components: K, the paper's 8.

    Raises:
        IncompatibleError: the states are tokens or have parts.
    """

    conditional = True

    def __init__(self, spec: Spec, width: int = 128, depth: int = 3, components: int = 8) -> None:
        super().__init__()
        if spec.parts or spec.discrete:
            raise IncompatibleError("mixture-mlp answers with one tensor of numbers; the states are no such")
        if components < 1:
            raise ValueError(f"components must be at least 1, got {components}")
        self.spec, self.components = spec, components
        self.trunk = MLP(spec, width, depth)
        self.trunk.out = nn.Linear(width, components * (spec.numel() + 1) + 1)

    def mixture(self, x: Tensor, t: Tensor, cond: Cond) -> Mixture:
        """One pass; weights and deviation in at least single precision."""
        k = self.components
        out = self.trunk.out(self.trunk.features(x, t, cond))
        out = out.float() if out.dtype.itemsize < 4 else out
        logits, log_std, means = out.split([k, 1, out.shape[1] - k - 1], 1)
        return Mixture(
            logits.log_softmax(1), means.reshape(len(x), k, *x.shape[1:]), (2 * log_std[:, 0]).exp()
        )
