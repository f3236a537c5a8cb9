"""Networks that tell classes apart: what they know of a spec, and the reference one."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models.mlp import MLP
from flowloom.spec import Spec
from flowloom.state import State, Time

__all__ = ["MLPClassifier", "told_apart"]


def told_apart(spec: Spec, label: str) -> tuple[Spec, int]:
    """What a classifier may see, which is all but the label, and how many classes it tells apart.

    Raises:
        IncompatibleError: the data has no such classes.
    """
    condition = spec.conditions.get(label)
    if condition is None or condition.classes is None or condition.shape:
        classes = [name for name, c in spec.conditions.items() if c.classes is not None and not c.shape]
        raise IncompatibleError(
            f"the data has no classes named '{label}' to tell apart; it has: {', '.join(classes) or 'none'}"
        )
    shown = {name: c for name, c in spec.conditions.items() if name != label}
    return replace(spec, conditions=shown), condition.classes


class MLPClassifier(MLP):
    """A multilayer perceptron that answers with logits of classes ``(batch, classes)``.

    It reads states as `MLP` does, at any time of a path, and never sees the label itself.

    Args:
        spec: of the data.
        label: the condition whose classes it tells apart.
        width: of the hidden layers.
        depth: number of hidden layers.
        token_dim: size of token embeddings.
    """

    def __init__(
        self, spec: Spec, label: str = "label", width: int = 128, depth: int = 2, token_dim: int = 8
    ) -> None:
        seen, self.classifies = told_apart(spec, label)
        super().__init__(seen, width, depth, token_dim)
        self.out = nn.Linear(width, self.classifies)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Logits of states at times ``t``."""
        return self.out(self.features(x, t, cond))
