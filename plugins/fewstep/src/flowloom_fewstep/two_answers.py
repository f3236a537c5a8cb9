"""A conditional task with two exact answers, and how far from them samples are."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.data.drawn import Drawn
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.spec import Condition, Spec

__all__ = ["NearestAnswer", "TwoAnswers", "answers"]


def answers(c: Tensor) -> Tensor:
    r"""Both answers to questions ``(n, 1)``: :math:`(\sin 3c, c \cos 2c) \pm (1.5, 0)`, ``(n, 2, 2)``."""
    centre = torch.cat([(3 * c).sin(), c * (2 * c).cos()], 1)
    apart = torch.tensor([[1.5, 0.0], [-1.5, 0.0]], dtype=c.dtype, device=c.device)
    return centre[:, None] + apart


class TwoAnswers(Drawn):
    """Questions c, uniform on [-2, 2], each with one of its two exact answers in the plane, by a fair coin.

    It stands for a policy that must be precise and may choose: an answer between both is wrong.
    """

    @property
    def spec(self) -> Spec:
        """Points of the plane under the condition ``question``, of shape ``(1,)``."""
        return Spec(shape=(2,), conditions={"question": Condition(shape=(1,))})

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Answers and their questions."""
        c = 4 * torch.rand(n, 1, generator=generator) - 2
        chosen = torch.randint(2, (n,), generator=generator)
        return Examples(answers(c)[torch.arange(n), chosen], {"question": c})


class NearestAnswer(Metric):
    """Mean distance of samples to the nearer exact answer to their question, and the balance of both.

    ``answer_distance`` is that distance; ``answer_share`` the share of samples nearer to the answer on the
    right, 0.5 where neither was lost; ``answer_bias`` its distance from a half.
    """

    better: ClassVar[dict[str, Literal["lower", "higher"]]] = {
        "answer_distance": "lower",
        "answer_bias": "lower",
    }

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Judge samples by their own questions.

        Raises:
            IncompatibleError: they answer no question of `TwoAnswers`.
        """
        self.require_rows(samples, real)
        question = samples.cond.get("question")
        if question is None or not isinstance(samples.x, Tensor) or samples.x.shape[1:] != (2,):
            raise IncompatibleError("nearest-answer judges answers in the plane, of data: two-answers")
        apart = (samples.x[:, None] - answers(question.to(samples.x.dtype))).norm(dim=-1)
        right = float((apart.argmin(1) == 0).double().mean())
        distance = float(apart.min(1).values.double().mean())
        return {"answer_distance": distance, "answer_share": right, "answer_bias": abs(right - 0.5)}
