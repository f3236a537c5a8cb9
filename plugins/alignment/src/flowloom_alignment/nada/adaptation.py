"""What became of a generator: judged by classifiers that its training did not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.state import with_batch
from flowloom_alignment.nada.directional import Directional
from flowloom_alignment.nada.styled import Styled

__all__ = ["Adaptation"]


class Adaptation(Score):
    """Style and class of samples by support vector machines, and how far samples lie apart.

    ``style_success`` is the share of samples in the wanted style; ``class_kept`` that in which the class is
    the one of the frozen flow's sample from the same noise; ``spread`` the mean distance between samples over
    that of the frozen flow's; ``monotone`` the share of steps of straight lines through noise on which the
    sample goes further from where the line began. A flow that was not adapted is its own old flow.

    Args:
        data: images in their styles (``styled``), which the machines learn from.
        style: that is wanted.
        n: samples.
        lines: through noise.
    """

    of_data = False
    better: ClassVar = dict.fromkeys(("style_success", "class_kept", "spread", "monotone"), "higher")
    about: ClassVar = {
        "style_success": "Share of samples in the new style, by a classifier that training did not see.",
        "class_kept": "Share of samples whose class is that of the old flow's sample from the same noise.",
        "spread": "Mean distance between samples, over that between the old flow's.",
        "monotone": "Share of steps on straight lines through noise that lead further from their start.",
    }

    def __init__(self, data: Dataset, style: str = "inverted", n: int = 400, lines: int = 50) -> None:
        if not isinstance(data, Styled) or style not in data.styles:
            known = ", ".join(data.styles) if isinstance(data, Styled) else "none"
            raise DataError(
                f"score adaptation is of a style of data styled; it has {known}, and not '{style}'"
            )
        if len(set(data.styles)) < 2 or "plain" not in data.styles:
            raise DataError(
                "score adaptation tells styles apart, and classes of the plain one: data styled with plain "
                f"and at least one other; it has {', '.join(data.styles)}"
            )
        if n < 2 or lines < 1:
            raise ValueError(f"n counts from 2 and lines from 1, got {n} and {lines}")
        self.data, self.style, self.n, self.lines = data, style, n, lines
        self._machines: tuple[Any, Mapping[str, Any]] | None = None

    def require(self, flow: Flow) -> None:
        """Ask for images as those that the machines learn from."""
        if flow.codec is not None or flow.spec.event_shape() != self.data.spec.event_shape():
            raise IncompatibleError(
                f"score adaptation judges images of {self.data.spec.shape}, and the flow draws states of "
                f"{flow.spec.event_shape()}"
            )

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """Draw from the same noise with both flows, and judge."""
        self.require(flow)
        if not len(examples):
            raise ShapeError("score adaptation: there is no example")
        draw = Draw(torch.Generator(flow.device).manual_seed(seed), device=flow.device, dtype=flow.dtype)
        rows = examples.exactly(self.n)
        cond = {name: value[rows.to(value.device)] for name, value in examples.cond.items()}
        z = flow.source.sample(with_batch(flow.spec.event_shape(), self.n), draw, cond=cond)
        frozen = flow.objective.reference.flow if isinstance(flow.objective, Directional) else flow
        now, was = (f.solve(x0=z, solver=flow.solver, cond=cond).x for f in (flow, frozen))
        assert isinstance(now, Tensor)
        assert isinstance(was, Tensor)
        styles, digits = self._trained()
        wanted = self.data.styles.index(self.style)
        told = styles.predict(_flat(now))
        classes = [digits[name].predict(_flat(x)) for name, x in ((self.style, now), ("plain", was))]
        return {
            "style_success": float((told == wanted).mean()),
            "class_kept": float((classes[0] == classes[1]).mean()),
            "spread": float(_apart(now) / _apart(was)),
            "monotone": self._monotone(flow, z, cond),
        }

    def _trained(self) -> tuple[Any, Mapping[str, Any]]:
        """A machine that tells styles, and one for each of both styles that tells classes."""
        if self._machines is None:
            from sklearn.svm import SVC

            per = len(self.data) // len(self.data.styles)
            seen = self.data.take(torch.arange(len(self.data)))
            assert isinstance(seen.x, Tensor)
            some = torch.arange(0, len(self.data), 3)
            styles = SVC().fit(_flat(seen.x[some]), seen.cond["style"][some].numpy())
            digits = {}
            for name in {self.style, "plain"}:
                here = torch.arange(per) + per * self.data.styles.index(name)
                digits[name] = SVC().fit(_flat(seen.x[here]), seen.cond["label"][here].numpy())
            self._machines = styles, digits
        return self._machines

    def _monotone(self, flow: Flow, z: Any, cond: Mapping[str, Tensor]) -> float:
        count = min(self.lines, self.n // 2)
        # Spread over all rows, which may be sorted.
        spread = torch.arange(2 * count) * self.n // (2 * count)
        starts, others = spread[::2].to(z.device), spread[1::2].to(z.device)
        ends = z[starts], z[others]
        told = {name: value[starts] for name, value in cond.items()}
        ways = [
            flow.solve(x0=(1 - a) * ends[0] + a * ends[1], solver=flow.solver, cond=told).x
            for a in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]
        away = torch.stack([(w - ways[0]).flatten(1).norm(dim=1) for w in ways])  # type: ignore[operator]
        return float((away.diff(dim=0) > 0).double().mean())


def _flat(x: Tensor) -> Any:
    return x.flatten(1).double().cpu().numpy()


def _apart(x: Tensor) -> Tensor:
    return torch.pdist(x.flatten(1).double().cpu()).mean()
