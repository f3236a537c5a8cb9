"""A multilayer perceptron that judges flattened states."""

from __future__ import annotations

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models.critic import Critic
from flowloom.models.embeddings import ConditionEmbedding, TimeEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State, Time

__all__ = ["MLPCritic"]


class MLPCritic(Critic):
    """One logit from the flattened state; time and conditions join after the first layer, as one embedding.

    Padding is zeroed at the input, so that it tells no sample from data.

    Args:
        spec: of the states, one tensor of numbers.
        width: of the hidden layers.
        depth: number of hidden layers.

    Raises:
        IncompatibleError: the states are tokens or have parts.
    """

    conditional = True

    def __init__(self, spec: Spec, width: int = 128, depth: int = 3) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth)
        if spec.parts or spec.discrete:
            raise IncompatibleError(
                "mlp-critic judges one tensor of numbers; the states are tokens or have parts"
            )
        self.spec = spec
        self.time, self.condition = TimeEmbedding(width, 64), ConditionEmbedding(spec.conditions, width)
        self.first = nn.Linear(spec.numel(), width)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.out = nn.Linear(width, 1)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Logits ``(batch,)``."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        layout = Layout.of(self.spec, cond)
        x = x if layout is None else layout.zero(x)
        told = self.time(t) + self.condition(cond, len(x))
        hidden = nn.functional.silu(self.first(x.flatten(1)) + told)
        for layer in self.inner:
            hidden = nn.functional.silu(layer(hidden))
        return self.out(hidden)[:, 0]
