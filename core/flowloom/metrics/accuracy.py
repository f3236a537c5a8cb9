"""Share of tokens, or of classes, that are right."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.layout import Layout
from flowloom.metrics.paired import PairedMetric
from flowloom.metrics.pairs import drawn_rows
from flowloom.state import leaves

__all__ = ["Accuracy"]


class Accuracy(PairedMetric):
    """How many tokens of the answers are those of the truth.

    * ``accuracy``: mean over rows and draws of the share of real and free tokens that are right, over all
      parts of a product that are tokens;
    * ``exact``: share of answers that are right throughout;
    * ``accuracy_voted``: of the commonest answer to every token; for several draws. Of equally common ones
      the smallest id counts.

    Args:
        draws: samples of each row.
        condition: a class condition that the task answers, to be judged in place of the state.
    """

    better: ClassVar = {"accuracy": "higher", "exact": "higher", "accuracy_voted": "higher"}

    def __init__(self, draws: int = 1, condition: str = "") -> None:
        super().__init__(draws)
        self.condition = condition

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare every token with its truth.

        Raises:
            IncompatibleError: there are no tokens.
            ShapeError: there is no such condition, or the samples are no whole number of draws.
        """
        drawn = torch.stack([self._tokens(one, real)[0] for one in drawn_rows(samples, real)])
        truth, counted = self._tokens(real, real)
        right = (drawn == truth) | ~counted
        rows = counted.any(1)
        count = counted.sum(1).clamp_min(1)
        share = ((right & counted).sum(-1) / count)[:, rows]
        values = {
            "accuracy": float(share.double().mean()),
            "exact": float(right.all(-1)[:, rows].double().mean()),
        }
        if len(drawn) > 1:
            voted = drawn.mode(0).values
            values["accuracy_voted"] = float(
                (((voted == truth) & counted).sum(1) / count)[rows].double().mean()
            )
        return values

    def _tokens(self, examples: Examples, like: Examples) -> tuple[Tensor, Tensor]:
        """Tokens side by side ``(n, d)``, and which of them count."""
        if self.condition:
            if self.condition not in examples.cond:
                have = ", ".join(examples.cond) or "none"
                raise ShapeError(
                    f"accuracy of the condition '{self.condition}': there is none; there are: {have}"
                )
            ids = (
                examples.cond[self.condition].flatten(1)
                if examples.cond[self.condition].ndim > 1
                else (examples.cond[self.condition][:, None])
            )
            return ids, torch.ones_like(ids, dtype=torch.bool)
        layout, found, counted = like.layout or Layout(), [], []
        for name, leaf in leaves(examples.x):
            if not leaf.is_floating_point():
                ones = torch.ones_like(leaf, dtype=torch.bool)
                found.append(leaf.reshape(len(leaf), -1))
                counted.append(layout.at(name).still(ones).reshape(len(leaf), -1))
        if not found:
            raise IncompatibleError(
                "accuracy counts tokens, and these data are real-valued; take mse, psnr or energy-score, or "
                "name a class condition that the task answers"
            )
        return torch.cat(found, 1), torch.cat(counted, 1)
