"""Classes read out of a flow that is told them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.models import ConditionEmbedding
from flowloom.module_names import module_name
from flowloom.scores import Score
from flowloom.seeds import generator as generator_of
from flowloom_likelihood.field import BijectionField


class FlowClassifier(Score):
    r"""Accuracy of a conditional flow as a classifier that nobody trained (Chen et al. 2511.22345).

    * ``one_gradient_accuracy``: class logits :math:`\lambda = 0` mix the embeddings of classes,
      :math:`e = \mathrm{softmax}(\lambda)^T E`, and the class is the largest entry of
      :math:`\nabla_\lambda \log p(x | e)`: one evaluation and one gradient for all classes.
    * ``bayes_accuracy``: the class under which x is most likely, :math:`\arg\max_k \log p(x | k)`: one
      evaluation for each.

    States have the noise of training.

    Args:
        label: the condition whose classes are told apart.
        batch: examples at a time.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "one_gradient_accuracy": "higher",
        "bayes_accuracy": "higher",
    }

    def __init__(self, label: str = "label", batch: int = 256) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.label, self.batch = label, batch

    def require(self, flow: Flow) -> None:
        """Ask for a bijection that is told classes."""
        field, condition = flow.field(), flow.spec.conditions.get(self.label)
        if not isinstance(field, BijectionField) or condition is None or condition.classes is None:
            raise IncompatibleError(
                f"score flow-classifier reads classes '{self.label}' out of a flow of exact likelihood that "
                "is told them, such as starflow"
            )

    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """Both accuracies."""
        self.require(flow)
        if len(examples) == 0:
            raise ShapeError("score flow-classifier: there is no example to score")
        right = {"one_gradient_accuracy": 0, "bayes_accuracy": 0}
        classes = flow.spec.conditions[self.label].classes
        assert classes is not None
        field = flow.objective.field(flow.model, flow.source)
        assert isinstance(field, BijectionField)
        with flow.evaluating():
            # Its embeddings answer with mixtures: others who ask the flow meanwhile must not hear them.
            copied = copy.deepcopy(flow.model)
            mixed = flow.objective.field(copied, flow.source)
            assert isinstance(mixed, BijectionField)
            for number, rows in enumerate(torch.arange(len(examples)).split(self.batch)):
                part = examples.take(rows)
                x, label = part.x, part.cond[self.label]
                assert isinstance(x, Tensor)
                draws = generator_of(seed, "flow-classifier", number, x.device)
                x = x + field.noise * Draw.like(x, draws).normal(tuple(x.shape))

                def said(
                    cond: dict[str, Tensor],
                    x: Tensor = x,
                    part: Examples = part,
                    field: BijectionField = field,
                ) -> Tensor:
                    return field.log_prob(x, {**part.cond, **cond})

                asked = partial(said, field=mixed)
                slope = self._slope(copied, asked, len(x), classes)
                each = self._each(said, label, classes)
                right["one_gradient_accuracy"] += int((slope.argmax(1) == label).sum())
                right["bayes_accuracy"] += int((each.argmax(1) == label).sum())
        return {name: count / len(examples) for name, count in right.items()}

    def _slope(self, model: nn.Module, said: Callable[..., Tensor], n: int, classes: int) -> Tensor:
        """The gradient by the logits of classes, ``(n, classes)``."""
        first = next(model.parameters())
        logits = torch.zeros(n, classes, device=first.device, dtype=first.dtype, requires_grad=True)
        with torch.enable_grad(), self._mixed(model, logits):
            anything = torch.zeros(n, dtype=torch.long, device=first.device)
            (slope,) = torch.autograd.grad(said({self.label: anything}).sum(), logits)
        return slope

    @torch.no_grad()
    def _each(self, said: Callable[..., Tensor], label: Tensor, classes: int) -> Tensor:
        found = [said({self.label: torch.full_like(label, k)}) for k in range(classes)]
        return torch.stack(found, 1)

    @contextmanager
    def _mixed(self, model: nn.Module, logits: Tensor) -> Iterator[None]:
        """Every embedding of the class answers with the mixture that the logits say."""

        def mix(table: nn.Module, _inputs: Any, _output: Tensor) -> Tensor:
            assert isinstance(table, nn.Embedding)
            mixture: Tensor = logits.softmax(1) @ table.weight
            return mixture

        key = module_name(self.label)
        tables = [
            m.embed[key] for m in model.modules() if isinstance(m, ConditionEmbedding) and key in m.embed
        ]
        handles = [table.register_forward_hook(mix) for table in tables]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
