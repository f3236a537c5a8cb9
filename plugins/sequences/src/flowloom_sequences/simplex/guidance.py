r"""Guidance on the simplex: scores are mixed, and the posterior that has the mixed score is solved for.

Given the token i, the Dirichlet path has the density :math:`\propto x_i^{a-1}`, so that the score of the
mixture is linear in the posterior p (Stark et al. 2402.05841, section 3.4):

.. math:: \nabla \log p_a(x) = P\, (a - 1)\, \mathrm{diag}(1/x)\, p, \qquad P v = v - \mathrm{mean}(v).

The paper solves this K x K system with one row replaced by :math:`\sum_i p_i = 1`. Its solution is closed:
with the constant that P removed fixed by the sum,

.. math:: p_j = \frac{x_j (s_j + (a - 1) - \langle x, s \rangle)}{a - 1}.

Two things follow. Mixing the scores of two posteriors is mixing the posteriors themselves, linearly:
classifier-free guidance with w gives :math:`(1 - w) p_\varnothing + w\, p_c`, projected onto the simplex. And
a classifier's gradient g moves p by :math:`w\, x_j (g_j - \langle x, g \rangle) / (a - 1)`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import doubled, without
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, Wrapped
from flowloom.guidance import Guidance, lerp_logits
from flowloom.guidance.classifier_free import needs_dropout
from flowloom.state import Cond, State, expand
from flowloom_sequences.simplex.geometry import FlatSimplex
from flowloom_sequences.simplex.path import DirichletPath


def posterior_to_score(p: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """Score of the Dirichlet mixture, tangent to the simplex: all ``(..., K)``, ``a`` broadcasting."""
    raw = (a - 1) * p / x.clamp_min(torch.finfo(x.dtype).tiny)
    return raw - raw.mean(-1, keepdim=True)


def score_to_posterior(score: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """The weights, summing to 1, whose mixture has this score; negative where no posterior has it."""
    strength = (a - 1).clamp_min(1e-6)
    return x * (score + strength - (x * score).sum(-1, keepdim=True)) / strength


class _Simplex(Guidance):
    def __call__(self, field: Field) -> Field:
        """The guided posterior.

        Raises:
            IncompatibleError: the field is not a posterior on a path that ends on vertices.
        """
        path = field.path
        if field.kind != "posterior" or path is None or not path.converts("posterior", "velocity"):
            raise IncompatibleError(
                f"{type(self).__name__} steers posteriors on the simplex (path: dirichlet or affine with "
                "codec: one-hot); for tokens use guidance: classifier-free"
            )
        return _Guided(field, self)

    @abstractmethod
    def steer(self, field: Field, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """Guided probabilities ``(batch, L, K)``."""

    @abstractmethod
    def calls(self, field: Field, t: float, cond: Cond) -> int:
        """Network evaluations of one call."""


class _Guided(Wrapped):
    def __init__(self, field: Field, rule: _Simplex) -> None:
        super().__init__(field)
        self.rule = rule

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """Logits of the guided posterior."""
        assert isinstance(x, Tensor)
        p = self.rule.steer(self.field, x, t, cond)
        return p.clamp_min(torch.finfo(p.dtype).tiny).log()

    def calls(self, t: float, cond: Cond) -> int:
        return self.rule.calls(self.field, t, cond)


class SimplexClassifierFree(_Simplex):
    r"""Classifier-free guidance by scores, :math:`s = (1 - w) s_\varnothing + w s_c`.

    By the linearity shown above this is :math:`(1 - w) p_\varnothing + w p_c` with negative entries projected
    away, on any path whose velocity is linear in the posterior.

    Args:
        scale: w; 1 is plain conditional sampling.
        conditions: names withheld in the null branch; all where empty.
        mix: ``score`` as above; ``log`` multiplies :math:`p_\varnothing^{1-w} p_c^w` instead, which needs no
            projection.
    """

    def __init__(
        self, scale: float = 2.0, conditions: Sequence[str] = (), mix: Literal["score", "log"] = "score"
    ) -> None:
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        self.scale, self.conditions, self.mix = scale, tuple(conditions), mix

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An objective that never withheld conditions."""
        yield from needs_dropout(self.scale, parts, self.conditions)

    def _active(self, field: Field, cond: Cond) -> bool:
        return self.scale != 1 and field.informed(cond)

    def steer(self, field: Field, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """One call on the doubled batch."""
        if not self._active(field, cond):
            return torch.softmax(_logits(field(x, t, cond)), -1)
        twice = doubled(cond, len(x), self.conditions, x.device)
        both = _logits(field(torch.cat([x, x]), torch.cat([t, t]), twice))
        if self.mix == "log":
            given, null = torch.log_softmax(both, -1).chunk(2)
            return torch.softmax(lerp_logits(null, given, self.scale), -1)
        given, null = torch.softmax(both, -1).chunk(2)
        return FlatSimplex().project(torch.lerp(null, given, self.scale))

    def calls(self, field: Field, t: float, cond: Cond) -> int:
        """Two where guidance is on."""
        return field.calls(t, cond) * (2 if self._active(field, cond) else 1)


class SimplexClassifier(_Simplex):
    r"""Classifier guidance on a Dirichlet path: the gradient of :math:`w \log p(y | x, a)` joins the score.

    Args:
        classifier: ``classifier(x, t) -> logits (batch, classes)``, trained on points of the path.
        scale: w.
        label: name of the condition that holds the wanted class; it is taken from the call's conditions and
            withheld from the network.
        earliest: t before which nothing is done: at a = 1 every posterior has the same score.
    """

    def __init__(
        self, classifier: nn.Module, scale: float = 2.0, label: str = "label", earliest: float = 0.02
    ) -> None:
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        self.classifier, self.scale, self.label, self.earliest = classifier, scale, label, earliest

    def steer(self, field: Field, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """One call of the network, and one of the classifier with its gradient."""
        if not isinstance(field.path, DirichletPath):
            raise IncompatibleError("classifier guidance needs the scores of path: dirichlet")
        if self.label not in cond:
            raise ShapeError(f"classifier guidance steers towards the condition '{self.label}'; give it")
        wanted = cond[self.label]
        p = torch.softmax(_logits(field(x, t, without(cond, len(x), (), x.device))), -1)
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            rows = torch.log_softmax(self.classifier(point, t), -1)
            (gradient,) = torch.autograd.grad(rows.gather(1, wanted[:, None]).sum(), point)
        a = expand(field.path.concentration(t), x)
        score = posterior_to_score(p, x, a) + self.scale * gradient
        guided = FlatSimplex().project(score_to_posterior(score, x, a))
        return torch.where(expand(t, x) < self.earliest, p, guided)

    def calls(self, field: Field, t: float, cond: Cond) -> int:
        """The network's; the classifier is not counted."""
        return field.calls(t, cond)


def _logits(value: State) -> Tensor:
    assert isinstance(value, Tensor)
    return value
