"""A metric as a ratio to what it says of real rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from flowloom.data.base import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics.around import Around
from flowloom.metrics.base import Metric

__all__ = ["BesideReal"]


class BesideReal(Around):
    """Another metric, over its value of the real rows themselves.

    A value ``words`` becomes ``words_beside_real``: the share that is right in samples, over that in held-out
    rows. For judges that are no perfect ear or eye: 1 says that samples are as clear to them as real rows
    are. Around ``by-class`` it is of the rows of each class. Values of which less is better are left out:
    real rows are at no distance from themselves. So is a value that is 0 of real rows, or less.

    Args:
        metric: that is asked, of samples and of real rows.
        plain: values of the samples that are told as well, under their own names.

    Raises:
        IncompatibleError: the metric has no such value, or nothing would be told.
    """

    def __init__(self, metric: Metric, plain: Sequence[str] = ()) -> None:
        super().__init__(metric)
        unknown = [name for name in plain if name not in metric.better]
        if unknown:
            raise IncompatibleError(
                f"metric beside-real: its metric has no value '{unknown[0]}'; "
                f"it has: {', '.join(metric.better)}"
            )
        if not plain and "higher" not in metric.better.values():
            raise IncompatibleError(
                "metric beside-real tells shares of what real rows have, and its metric has no value of "
                f"which more is better; it has: {', '.join(metric.better)}"
            )
        self.plain = tuple(plain)
        self._judged: tuple[Examples, int] | None = None
        self._theirs: Mapping[str, float] = {}

    def fit(self, train: Dataset) -> None:
        """Prepare the metric; what it said before of real rows is forgotten."""
        super().fit(train)
        self._judged = None

    @property
    def silent(self) -> str:  # type: ignore[override]
        """Its own reason, or that of the metric."""
        theirs = self.metric.silent
        return f"{theirs}, or it is 0 of real rows" if theirs else "it is 0 of real rows"

    @property
    def better(self) -> Mapping[str, Literal["lower", "higher"]]:  # type: ignore[override]
        """Those of the metric of which more is better, and those that are told plainly."""
        ways = self.metric.better
        ratios = {f"{name}_beside_real": way for name, way in ways.items() if way == "higher"}
        return {name: ways[name] for name in self.plain} | ratios

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Ratios of the values that both have, and the values that are told plainly."""
        self.require_rows(samples, real)
        ours, theirs = self.metric(samples, real), self._of_real(real, len(samples))
        ratios = {
            f"{name}_beside_real": ours[name] / theirs[name]
            for name, way in self.metric.better.items()
            if way == "higher" and name in ours and theirs.get(name, 0.0) > 0
        }
        return {name: ours[name] for name in self.plain if name in ours} | ratios

    def _of_real(self, real: Examples, samples: int) -> Mapping[str, float]:
        """Its values of real rows in as many draws as there are samples: the same for all columns."""
        times = samples // len(real) if self.paired else 1
        before = self._judged
        if before is None or before[0] is not real or before[1] != times:
            drawn = real if times == 1 else real.take(torch.arange(len(real)).repeat(times))
            self._theirs, self._judged = self.metric(drawn, real), (real, times)
        return self._theirs
