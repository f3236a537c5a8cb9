r"""The exact posterior of a small joint distribution of tokens under a mixture path.

With tokens independent given the ends, :math:`q_t(y | x_1) = \kappa\,\delta_{x_1}(y) + (1 - \kappa)\,p_0(y)`,
and

.. math:: p(x_1^i = v | x_t) \propto \sum_{x_1 : x_1^i = v} p(x_1) \prod_j q_t(x_t^j | x_1^j).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.fields import Field
from flowloom.geometry import Discrete
from flowloom.paths import MixturePath
from flowloom.state import Cond, State


class JointTable:
    """A joint law of ``length`` tokens, by its table.

    Args:
        table: probabilities ``(vocab,) * length``.
    """

    def __init__(self, table: Tensor | None = None) -> None:
        # Neighbours agree with probability 0.7: far from independent, every cell reachable.
        default = 0.7 / 3 * torch.eye(3, dtype=torch.float64) + 0.05 * (1 - torch.eye(3, dtype=torch.float64))
        self.table = default if table is None else table.double()
        self.vocab, self.length = self.table.shape[0], self.table.ndim
        ids = torch.arange(self.vocab)
        self.outcomes = torch.cartesian_prod(*[ids] * self.length).reshape(-1, self.length)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` sequences, int64 ``(n, length)``."""
        return self.outcomes[torch.multinomial(self.table.flatten(), n, True, generator=generator)]

    def frequencies(self, x: Tensor) -> Tensor:
        """Empirical law of sequences, in the shape of the table; the mask id counts nowhere."""
        valid = x[(x < self.vocab).all(1)]
        code = torch.zeros(len(valid), dtype=torch.long)
        for column in valid.T:
            code = code * self.vocab + column
        counts = torch.bincount(code, minlength=self.table.numel()).double()
        return (counts / len(x)).reshape(self.table.shape)

    def floor(self, n: int, generator: torch.Generator, deviations: float = 4.0) -> float:
        """Total variation between the table and ``n`` own draws: mean plus some deviations."""
        found = torch.tensor([self.distance(self.sample(n, generator)) for _ in range(20)])
        return float(found.mean() + deviations * found.std())

    def distance(self, x: Tensor) -> float:
        """Total variation between the table and the empirical law of sequences."""
        return (
            float((self.frequencies(x) - self.table).abs().sum() + (x >= self.vocab).any(1).double().mean())
            / 2
        )


class JointPosterior(Field):
    """The exact posterior of a `JointTable` as a field.

    Args:
        joint: the data.
        path: a mixture path; its geometry says whether the source is the mask or uniform.
    """

    kind = "posterior"

    def __init__(self, joint: JointTable | None = None, path: MixturePath | None = None) -> None:
        self.joint = joint or JointTable()
        path = path or MixturePath(Discrete(self.joint.vocab, mask=True))
        assert isinstance(path.geometry, Discrete)
        self.path, self.geometry, self.masked = path, path.geometry, path.geometry.mask

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """Logits ``(n, length, vocab)``."""
        assert isinstance(x, Tensor) and isinstance(self.path, MixturePath)
        kappa = self.path.schedule.alpha(t.double()).reshape(-1, 1, 1)
        same = (x[:, None, :] == self.joint.outcomes).double()
        still = (x == self.joint.vocab).double()[:, None, :] if self.masked else 1 / self.joint.vocab
        likelihood = (kappa * same + (1 - kappa) * still).prod(-1)
        weights = likelihood * self.joint.table.flatten()
        chosen = torch.nn.functional.one_hot(self.joint.outcomes, self.joint.vocab).double()
        return torch.einsum("no,olv->nlv", weights, chosen).clamp_min(1e-300).log()
