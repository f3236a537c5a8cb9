"""What the features of a network are worth without the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.conditions import without
from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import ShapeError
from flowloom.flow import Flow
from flowloom.objectives import Batch
from flowloom.scores import Score
from flowloom.seeds import generator as generator_of
from flowloom_foundations.hidden.tap import tapped


class HiddenFeatures(Score):
    r"""Linear probes and the effective rank of a block's features, at some noise levels.

    The rank is :math:`\exp(-\sum_k p_k \log p_k)` of the normalised singular values p of centred features
    (Roy and Vetterli 2007). A probe is a ridge regression onto the classes, cross-validated in five folds
    over the held-out examples, with all conditions withheld from the network.

    Args:
        block: of the network, see `tapped`.
        label: class condition to probe for; none where None.
        noise: levels 1 - t to ask at; values are means over them.
        ridge: of the probe, relative to the mean eigenvalue.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "probe_error": "lower",
        "effective_rank": "higher",
    }

    def __init__(
        self,
        block: str = "blocks.1",
        label: str | None = "label",
        noise: tuple[float, ...] = (0.0, 0.02),
        ridge: float = 1e-2,
    ) -> None:
        self.block, self.label, self.noise, self.ridge = block, label, tuple(noise), ridge

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``effective_rank``, and ``probe_error`` where there are classes."""
        if not len(examples):
            raise ShapeError("score hidden-features: there is no example to score")
        found: dict[str, list[float]] = {}
        told = examples.cond.get(self.label) if self.label else None
        cond = without(examples.cond, len(examples)) if examples.cond else {}
        for k, level in enumerate(self.noise):
            draws = generator_of(seed, "hidden-features", k, flow.device)
            x0 = flow.start_for(examples, draws)
            t = torch.full((len(examples),), 1 - level, device=flow.device)
            layout = flow.layout(examples.cond)
            batch = Batch(x0, examples.x, cond, layout)
            x = batch.point(flow.objective.path, t, draws).x_t
            with flow.evaluating():
                hidden = tapped(flow.model, self.block, x, t, cond, layout)[1].double()
            found.setdefault("effective_rank", []).append(effective_rank(hidden))
            if told is not None:
                order = Draw(draws).permutation(len(hidden))
                error = probe_error(hidden[order], told.to(order.device)[order], self.ridge)
                found.setdefault("probe_error", []).append(error)
        return {name: sum(values) / len(values) for name, values in found.items()}


def effective_rank(features: Tensor) -> float:
    """Exponential of the entropy of normalised singular values of centred rows."""
    values = torch.linalg.svdvals(features - features.mean(0))
    share = values / values.sum().clamp_min(1e-12)
    return float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum()))


def probe_error(features: Tensor, label: Tensor, ridge: float, folds: int = 5) -> float:
    """Share of rows whose class a linear probe of the other folds gets wrong."""
    wanted = torch.nn.functional.one_hot(label.long()).double()
    wrong = 0
    for fold in torch.arange(len(features)).chunk(folds):
        kept = torch.ones(len(features), dtype=torch.bool)
        kept[fold] = False
        mean, std = features[kept].mean(0), features[kept].std(0).clamp_min(1e-9)
        x = torch.cat([(features - mean) / std, features.new_ones(len(features), 1)], 1)
        gram = x[kept].T @ x[kept]
        gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype, device=x.device)
        weights = torch.linalg.solve(gram, x[kept].T @ wanted[kept])
        wrong += int(((x[fold] @ weights).argmax(1) != label[fold]).sum())
    return wrong / len(features)
