"""What a representation is worth to somebody with few labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.seeds import generator as generator_of

__all__ = ["LinearProbe", "MacroF1", "macro_f1"]

_ABOUT = "mean over classes of the harmonic mean of precision and recall"


@runtime_checkable
class _Encodes(Protocol):
    def encode(self, x: Tensor) -> Tensor: ...


class LinearProbe(Score):
    r"""Macro F1 of a linear classifier of representations that is given a few labels.

    Of the held-out examples ``labelled`` are drawn with their labels, multinomial logistic regression is
    fitted to the standardised representations of these alone, and judged on all others; the value is the mean
    over ``draws`` of the few. No label was there in training. The network is asked for ``encode(x)``.

    Args:
        label: class condition.
        labelled: examples with labels; half of all, if there are not so many.
        draws: of the few.
        penalty: :math:`\lambda` of :math:`\lambda |W|^2 / 2` beside the mean cross-entropy.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"probe_f1": "higher"}
    about: ClassVar[Mapping[str, str]] = {"probe_f1": f"Of a linear probe of few labels: {_ABOUT}."}

    def __init__(
        self, label: str = "activity", labelled: int = 60, draws: int = 10, penalty: float = 1e-2
    ) -> None:
        if labelled < 1 or draws < 1 or penalty <= 0:
            raise ValueError(
                f"labelled and draws count from 1, penalty is positive; got {labelled}, {draws}, {penalty}"
            )
        self.label, self.labelled, self.draws, self.penalty = label, labelled, draws, penalty

    def require(self, flow: Flow) -> None:
        """Ask for a network that encodes, and for the classes."""
        if not isinstance(flow.model, _Encodes):
            name = type(flow.model).__name__
            raise IncompatibleError(f"score linear-probe is of representations, and {name} has none to tell")
        _classes(flow, self.label, "linear-probe")

    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``probe_f1``."""
        self.require(flow)
        model, n = flow.model, len(examples)
        assert isinstance(model, _Encodes)
        if n < 2:
            raise ShapeError(f"score linear-probe needs examples to learn from and others, got {n}")
        x = examples.cond.get(getattr(model, "example", ""), examples.x)
        assert isinstance(x, Tensor)
        with torch.no_grad(), flow.evaluating():
            features = torch.cat([model.encode(some) for some in x.split(1024)]).double().cpu()
        truth, classes = examples.cond[self.label].long().cpu(), _classes(flow, self.label, "linear-probe")
        few, found = min(self.labelled, n // 2), []
        draw = Draw(generator_of(seed, "linear-probe", 0))
        for _ in range(self.draws):
            order = draw.permutation(n)
            told, asked = order[:few], order[few:]
            says = _probe(features[told], truth[told], features[asked], classes, self.penalty)
            found.append(macro_f1(says, truth[asked]))
        return {"probe_f1": sum(found) / len(found)}


class MacroF1(Score):
    """Macro F1 of a classifier on held-out examples.

    Args:
        label: class condition.
        batch: examples at a time.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"macro_f1": "higher"}
    about: ClassVar[Mapping[str, str]] = {"macro_f1": f"Of the classifier: {_ABOUT}."}

    def __init__(self, label: str = "activity", batch: int = 1024) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.label, self.batch = label, batch

    def require(self, flow: Flow) -> None:
        """Ask for a classifier of these classes."""
        if getattr(flow.model, "classifies", 0) != _classes(flow, self.label, "macro-f1"):
            raise IncompatibleError(
                f"score macro-f1 is of a classifier of '{self.label}'; take one as the model"
            )

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``macro_f1``."""
        self.require(flow)
        if not len(examples):
            raise ShapeError("score macro-f1: there is no example to score")
        said = []
        with flow.evaluating():
            for rows in torch.arange(len(examples)).split(self.batch):
                some = examples.take(rows)
                assert isinstance(some.x, Tensor)
                cond = {name: value for name, value in some.cond.items() if name != self.label}
                said.append(flow.model(some.x, some.x.new_ones(len(some)), **cond).argmax(-1).cpu())
        return {"macro_f1": macro_f1(torch.cat(said), examples.cond[self.label].long().cpu())}


def macro_f1(says: Tensor, truth: Tensor) -> float:
    """Mean over the classes of ``truth`` of 2 TP / (2 TP + FP + FN).

    >>> macro_f1(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]))
    0.6666666666666666
    """
    each = []
    for one in truth.unique():
        hit = int(((says == one) & (truth == one)).sum())
        each.append(2 * hit / int((says == one).sum() + (truth == one).sum()))
    return sum(each) / len(each)


def _probe(known: Tensor, label: Tensor, asked: Tensor, classes: int, penalty: float) -> Tensor:
    """Classes ``(asked,)`` by logistic regression on ``known``, each number in its own deviations."""
    mean, std = known.mean(0), known.std(0, correction=0).clamp_min(1e-6)
    known, asked = (known - mean) / std, (asked - mean) / std
    weight = known.new_zeros(known.shape[1], classes, requires_grad=True)
    bias = known.new_zeros(classes, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(known @ weight + bias, label) + penalty / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        search.step(loss)
    return (asked @ weight + bias).detach().argmax(-1)


def _classes(flow: Flow, label: str, who: str) -> int:
    condition = flow.spec.conditions.get(label)
    if condition is None or condition.classes is None:
        have = [name for name, one in flow.spec.conditions.items() if one.classes is not None]
        raise IncompatibleError(
            f"score {who}: the data have no classes '{label}'; they have: {', '.join(have) or 'none'}"
        )
    return condition.classes
