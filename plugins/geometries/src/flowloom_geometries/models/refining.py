"""An MLP that moves what a source of kernels has not settled."""

from __future__ import annotations

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models import MLP
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom.state import State
from flowloom_geometries.kernels import Kernels


class RefiningMLP(nn.Module):
    r"""The velocity of a flow from a mixture of kernels, which starts as none at all.

    .. math:: v(x, t) = (1 - r(x))\, v_\theta(x, t)

    with r the probability that x repeats a training row (`Kernels.repeated`). A narrow kernel says that
    events return to the same place; a smooth network would carry its mass elsewhere by more than its width.
    What it may move is the rest. The last layer begins at 0: before the first step the flow is its source.

    Args:
        spec: of the data: unit vectors ``(3,)``.
        source: a mixture of kernels; injected from the recipe.
        width: of the hidden layers.
        depth: number of hidden layers.
        within: a kernel narrower than this is a repetition, in radians (0.003 is 19 km on Earth).

    Raises:
        IncompatibleError: the source is another one.
    """

    conditional = True

    def __init__(
        self, spec: Spec, source: Source, width: int = 128, depth: int = 3, within: float = 0.003
    ) -> None:
        super().__init__()
        if not isinstance(source, Kernels):
            raise IncompatibleError(
                f"model refining-mlp refines source: kernels, not {type(source).__name__}; use model: mlp"
            )
        if not within >= 0:
            raise ValueError(f"within must not be negative, got {within}")
        self.spec, self.within = spec, within
        self.source = source
        self.body = MLP(spec, width, depth)
        nn.init.zeros_(self.body.out.weight)
        nn.init.zeros_(self.body.out.bias)

    def forward(self, x: State, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Read points ``(batch, 3)`` at times ``(batch,)``; see `flowloom.models.Model`."""
        assert isinstance(x, Tensor)
        velocity = self.body(x, t, **cond)
        assert isinstance(velocity, Tensor)
        free: Tensor = 1 - self.source.repeated(x, self.within)
        return free[:, None] * velocity
