"""Guidance by a classifier of points on the way."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import without
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, Wrapped
from flowloom.guidance.base import Guidance
from flowloom.guidance.classifier_free import needs_dropout
from flowloom.paths import Path, another_way
from flowloom.spec import Spec
from flowloom.state import Cond, State, batch_size, expand, first_leaf
from flowloom.trained import Trained

__all__ = ["ClassifierGuidance"]


class ClassifierGuidance(Guidance, nn.Module):
    r"""Steer towards a class by the gradient of a classifier that knows the way: :math:`p_t(x)\,p(y|x_t)^w`.

    The score becomes :math:`\nabla\log p_t(x) + w\,\nabla_x \log p(y\,|\,x, t)` (Dhariwal and Nichol
    2105.05233, equation 12); whatever the network predicts is read as a score through its path, and back, so
    that a velocity gains :math:`w\,s^2\sigma(\dot\alpha\sigma - \alpha\dot\sigma)/\alpha` times the gradient
    (for flows, Zheng et al. 2311.13443). The class is taken from the condition ``label`` and withheld from
    the network; a call under no class is not steered.

    Args:
        classifier: trained on points of the same path and source (objective ``classification``).
        scale: w; 0 is the field itself.
        label: the condition that holds the wanted class.
        earliest: share of the way before which nothing is done: at its beginning a state tells nothing of the
            class, and the factor above has no bound.
        withhold: False tells the network the class as well.
    """

    def __init__(
        self,
        classifier: Trained,
        scale: float = 1.0,
        label: str = "label",
        earliest: float = 0.02,
        withhold: bool = True,
    ) -> None:
        nn.Module.__init__(self)
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        if not 0 <= earliest < 1:
            raise ValueError(f"earliest is a share of the way in [0, 1), got {earliest}")
        self.classifier, self.weight, self.label = classifier, scale, label
        self.earliest, self.withhold = earliest, withhold

    def __call__(self, field: Field) -> Field:
        """The guided field.

        Raises:
            IncompatibleError: the field cannot be read as a score.
        """
        path = field.path
        if path is None or not (
            path.converts(field.kind, "score", field.source)
            and path.converts("score", field.kind, field.source)
        ):
            raise IncompatibleError(
                "classifier guidance adds to scores, and a field of this kind has none on its path; it takes "
                "path: affine with source: gaussian"
            )
        return _Guided(field, self)

    def slope(self, x: Tensor, t: Any, cond: Cond) -> Tensor:
        """The gradient of the log probability of the wanted class, in the shape of ``x``."""
        wanted = cond[self.label]
        seen = {name: value for name, value in cond.items() if name != self.label and "null" not in name}
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            rows = torch.log_softmax(self.classifier(point, t, **seen), -1)
            (gradient,) = torch.autograd.grad(rows.gather(1, wanted[:, None]).sum(), point)
        return gradient

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A classifier that is none, or of other states or another path; a class that was never withheld."""
        flow, spec, path = self.classifier.flow, parts.get("spec"), parts.get("path")
        if not getattr(flow.model, "classifies", 0):
            name = type(flow.model).__name__
            message = f"the run given as classifier trained {name}, which answers with no classes"
            yield Clash("guidance", "model", f"{message}; take one of objective: classification")
        if not getattr(flow.objective, "noised", True):
            what = "the classifier was trained on clean states alone, and guidance asks it at every time"
            yield Clash("guidance", "model", f"{what}; train it with objective.noised: true")
        if isinstance(spec, Spec) and spec.event_shape() != flow.spec.event_shape():
            yield Clash(
                "guidance",
                "data",
                f"the classifier knows states of shape {flow.spec.event_shape()}, and these are of shape "
                f"{spec.event_shape()}; train it with the same data and codec",
            )
        if self.withhold and isinstance(spec, Spec) and self.label in spec.named("inform"):
            for clash in needs_dropout(0, parts):
                what = f"'{self.label}' is withheld from the network and the classifier decides it"
                hint = "set objective.condition_dropout (0.1 to 0.2), or guidance.withhold: false"
                yield Clash(clash.first, clash.second, f"{what}, which training never did; {hint}")
        if isinstance(path, Path) and (other := another_way(flow.path, path)):
            message = f"the classifier was trained on points of {other}; train it on the same path"
            yield Clash("guidance", "path", message)


class _Guided(Wrapped):
    def __init__(self, field: Field, rule: ClassifierGuidance) -> None:
        super().__init__(field)
        self.rule = rule
        self.jvp_safe = False  # a gradient is taken on the way

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """One network call, and one of the classifier with its gradient."""
        rule = self.rule
        if rule.weight == 0 or rule.label not in cond:
            return self.ask(x, t, cond, generator)
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise ShapeError("classifier guidance steers one tensor of numbers")
        seen = without(cond, batch_size(x), (rule.label,), x.device) if rule.withhold else cond
        value = self.ask(x, t, seen, generator)
        assert isinstance(value, Tensor)
        assert self.path is not None
        score = self.path.convert(value, x, t, self.kind, "score", self.source)
        assert isinstance(score, Tensor)
        steered = score + rule.weight * rule.slope(x, t, cond)
        guided = self.path.convert(steered, x, t, "score", self.kind, self.source)
        assert isinstance(guided, Tensor)
        first, last = self.span
        way = (first_leaf(t) - first) / (last - first)
        late = expand(way >= rule.earliest, x)
        return torch.where(late, guided, value)
