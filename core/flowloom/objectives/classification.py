"""Telling classes apart along a path: the classifiers that guide flows, and those that judge samples."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F

from flowloom.clashes import Clash, Parts
from flowloom.draw import Draw
from flowloom.errors import ShapeError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.objectives.base import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom.state import State, batch_size, first_leaf
from flowloom.times import TimeLaw, Uniform

__all__ = ["Classification"]


class Classification(Objective):
    r"""Cross entropy of a network's logits with the class of a row: :math:`-E \log p_\theta(y\,|\,x_t, t)`.

    Where points are noised, the classifier is one for guidance, which must know every x_t of the path that it
    is to steer (Dhariwal and Nichol 2105.05233, section 4; on Dirichlet paths Stark et al. 2402.05841). Else
    it sees the data alone, as a judge does. The network never sees the label. Nothing is sampled of it.

    Args:
        path: where the points come from; injected from the recipe where none is given.
        times: law of t.
        label: name of the class condition.
        noised: False for clean states, x1 at the path's last time.
        smoothing: of the labels.
    """

    generates = False

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        label: str = "label",
        noised: bool = True,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must lie in [0, 1), got {smoothing}")
        self.path, self.times = path or AffinePath(), times or Uniform()
        self.label, self.noised, self.smoothing = label, noised, smoothing

    @property
    def kind(self) -> Kind:
        """``logits``: of classes, which no solver takes."""
        return "logits"

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Draw t and x_t, and ask the network for the class."""
        if self.label not in batch.cond:
            raise ShapeError(
                f"classification needs the condition '{self.label}'; given: {sorted(batch.cond)}"
            )
        wanted = batch.cond[self.label]
        cond = {name: value for name, value in batch.cond.items() if name != self.label}
        n = batch_size(batch.x1)
        if self.noised:
            t = self.times.sample(n, Draw.like(batch.x1, step.generator))
            x: State = batch.point(self.path, t, step.generator).x_t
        else:
            like = first_leaf(batch.x1)
            t = like.new_full((n,), self.path.span[1], dtype=torch.get_default_dtype())
            x = batch.x1 if batch.layout is None else batch.layout.fill(batch.x1)
        logits = model(x, t, **cond)
        hit = (logits.detach().argmax(-1) == wanted).float().mean()
        told = {"accuracy": hit, "cross_entropy": F.cross_entropy(logits.detach(), wanted)}
        return Loss(F.cross_entropy(logits, wanted, label_smoothing=self.smoothing), told)

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The logits."""
        return NetworkField(model, self.kind, self.path, source)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Data without the classes, a network that answers with states."""
        spec, model = parts.get("spec"), parts.get("model")
        if isinstance(spec, Spec):
            condition = spec.conditions.get(self.label)
            if condition is None or condition.classes is None:
                yield Clash(
                    "objective", "data", f"the data has no classes named '{self.label}' to tell apart"
                )
        if model is not None and not getattr(model, "classifies", 0):
            yield Clash(
                "objective",
                "model",
                f"classification asks for logits of classes, and {type(model).__name__} answers with states; "
                "take a classifier such as model: mlp-classifier",
            )
