"""Stage 1: how good every goal of a vocabulary is in a scene."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.clashes import Clash, Parts
from flowloom.data import Dataset
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.models.sizes import require_sizes
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom.state import Cond, State, Time

__all__ = ["GoalScorer", "GoalScores"]


class GoalScorer(nn.Module):
    """Two logits for every goal of the vocabulary, from what is told of the scene: ``(batch, 2, goals)``.

    Neither the way nor its goal is read.

    Args:
        spec: of the data; injected from the recipe.
        goals: size of the vocabulary.
        width: of the hidden layers.
        depth: number of hidden layers.
    """

    def __init__(self, spec: Spec, goals: int = 128, width: int = 128, depth: int = 2) -> None:
        super().__init__()
        require_sizes(goals=goals, width=width, depth=depth)
        self.spec, self.goals = spec, goals
        self.names = tuple(name for name in spec.named("inform") if name != "goal")
        if not self.names:
            raise IncompatibleError("a goal scorer reads conditions of the scene, and the data have none")
        told = [spec.conditions[name] for name in self.names]
        size = sum((one.classes or 1) * math.prod(one.shape) for one in told)
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(size, width), nn.SiLU()]
            size = width
        self.net = nn.Sequential(*layers, nn.Linear(size, 2 * goals))

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Logits of distance, and of standing in the drivable area."""
        missing = [name for name in self.names if name not in cond]
        if missing:
            raise ShapeError(
                f"the goal scorer is told {', '.join(self.names)}; missing: {', '.join(missing)}"
            )
        out: Tensor = self.net(torch.cat([self._numbers(name, cond[name]) for name in self.names], 1))
        return out.reshape(len(out), 2, self.goals)

    def _numbers(self, name: str, value: Tensor) -> Tensor:
        """A row of numbers; class ids one-hot, for their order means nothing."""
        classes = self.spec.conditions[name].classes
        rows = value if classes is None else F.one_hot(value, classes)
        flat = rows[:, None] if rows.ndim == 1 else rows.flatten(1)
        return flat.to(next(self.net.parameters()).dtype)


class GoalScores(Objective):
    r"""Soft labels by distance, and whether a goal is drivable (GoalFlow 2503.05689, section 3.2).

    The vocabulary are N end points of training ways, by k-means. With :math:`d_i` and :math:`a_i` the two
    logits of goal :math:`g_i`,

    .. math:: -\sum_i \mathrm{softmax}_i(-|g_i - g|^2)\,\log \mathrm{softmax}_i(d)
              + \frac1N \sum_i \mathrm{BCE}(\sigma(a_i), [g_i\ \text{drivable}]),

    distances in units of the data. Nothing is sampled of it; `scores` is what a later stage asks.

    Args:
        data: ways with the condition ``goal``, which say what is ``drivable``; injected from the recipe.
        far: weight of :math:`\log \mathrm{softmax}(d)` in the score.
        off: weight of :math:`\log \sigma(a)`.
    """

    generates = False

    def __init__(self, data: Dataset | None = None, far: float = 1.0, off: float = 1.0) -> None:
        super().__init__()
        self.drivable: Callable[[Tensor, Tensor], Tensor] | None = getattr(data, "drivable", None)
        self.far, self.off, self.path = far, off, AffinePath()
        self.register_buffer("vocabulary", torch.empty(0))

    @property
    def kind(self) -> Kind:
        """``goal-scores``, which no solver takes."""
        return "goal-scores"

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Data without goals."""
        spec = parts.get("spec")
        if isinstance(spec, Spec) and "goal" not in spec.conditions:
            yield Clash(
                "objective", "data", "goal-scores learns goals, and the data have no condition 'goal'"
            )

    def fit(self, data: Dataset | None, flow: Any, generator: torch.Generator) -> None:
        """Cluster the goals of the training data, 10,000 of them at most."""
        if data is None or "goal" not in data.spec.conditions:
            raise IncompatibleError("a vocabulary of goals is made of data with the condition 'goal'")
        goals = data.take(data.evenly(10_000)).cond["goal"].double()
        count = flow.model.goals
        if len(goals) < count:
            raise IncompatibleError(f"{count} goals are more than there are examples ({len(goals)})")
        seed = int(torch.randint(2**31, (), generator=generator))
        centres, _ = kmeans2(goals.numpy(), count, minit="++", seed=np.random.default_rng(seed))
        self.vocabulary = torch.from_numpy(centres).float().to(flow.device)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Both terms.

        Raises:
            ShapeError: there are no goals, or no vocabulary was fitted.
        """
        assert isinstance(batch.x1, Tensor)
        goal = batch.cond.get("goal")
        logits = model(batch.x1, batch.x1.new_zeros(len(batch.x1)), **batch.cond)
        if goal is None or self.vocabulary.shape[:1] != logits.shape[2:]:
            raise ShapeError("goal-scores needs the condition 'goal', and a vocabulary fitted to it")
        vocabulary = self.vocabulary.to(goal)
        # Not by products, which cost the digits of goals far from the origin.
        apart = torch.cdist(goal, vocabulary, compute_mode="donot_use_mm_for_euclid_dist")
        wanted = (-apart.square()).softmax(1)
        far = -(wanted * logits[:, 0].log_softmax(1)).sum(1).mean()
        terms = {"distance": far}
        if self.drivable is not None:
            label = self.drivable(vocabulary, batch.cond["scene"]).to(logits)
            terms["drivable"] = F.binary_cross_entropy_with_logits(logits[:, 1], label)
        return Loss(torch.stack(list(terms.values())).sum(), {k: v.detach() for k, v in terms.items()})

    def scores(self, model: nn.Module, cond: Cond, n: int) -> Tensor:
        """Score of every goal, ``(n, N)``: weighted log probabilities of being near, and drivable."""
        like = self.vocabulary.new_zeros(n)
        logits: Tensor = model(like, like, **{k: v for k, v in cond.items() if k != "goal"})
        drivable = self.off * F.logsigmoid(logits[:, 1])
        return self.far * logits[:, 0].log_softmax(1) + drivable

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network."""
        return NetworkField(model, self.kind, self.path, source)
