"""Metrics of image quality: all of them look through the features of one judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.metrics.frechet import frechet_distance
from flowloom.state import first_leaf
from flowloom.trained import Trained
from flowloom_images.metrics.judge import Judge, judge_of
from flowloom_images.metrics.manifolds import precision_recall

Features = Callable[[Tensor], Tensor]
"""Images ``(n, C, H, W)`` in [-1, 1] to features ``(n, d)``."""


class _Judged(Metric):
    """A metric that looks at images through a judge, or through given features."""

    def __init__(
        self,
        features: Features | None = None,
        judge: Trained | None = None,
        judge_steps: int = 400,
        seed: int = 0,
    ) -> None:
        if judge_steps < 1:
            raise ValueError(f"judge_steps must be at least 1, got {judge_steps}")
        self.judge_steps, self.seed = judge_steps, seed
        self._given = features
        self._told = None if judge is None else Judge(judge)
        self._judge: Judge | None = None
        self._train: Dataset | None = None

    def fit(self, train: Dataset) -> None:
        """Remember the real training split; the judge is trained when first needed."""
        self._train, self._judge = train, None

    @property
    def judge(self) -> Judge:
        """The classifier that was given, else one trained on the real training split, shared with other
        metrics of the same data.

        Raises:
            IncompatibleError: there is none, and `fit` has not been called.
        """
        if self._told is not None:
            return self._told
        if self._judge is None:
            if self._train is None:
                raise IncompatibleError(f"{type(self).__name__} has no judge yet; call fit(train) first")
            self._judge = judge_of(self._train, self.judge_steps, self.seed)
        return self._judge

    def features(self, examples: Examples) -> Tensor:
        """Features ``(n, d)`` of images ``(n, C, H, W)``, on the CPU."""
        return _in_chunks(self._given or self.judge.features, examples)

    def accuracy(self, examples: Examples) -> float:
        """Share of examples whose judged class is their ``label``."""
        judged = _in_chunks(self.judge.logits, examples).argmax(1)
        return float((judged == examples.cond["label"].cpu()).double().mean())


class ClassifierFrechet(_Judged):
    """Fréchet distance of samples to real images in the features of a small classifier.

    The idea of the FID (Heusel et al. 1706.08500), with a classifier trained on the data at hand in place
    of Inception, so that nothing is downloaded and the features suit small images.

    Args:
        features: a function of images ``(n, C, H, W)`` in [-1, 1] to features ``(n, d)`` to use instead of
            the classifier; in a recipe ``module:function``.
        judge: a classifier that was trained before, in a stage or another run (``{run: NAME}``); one is
            trained on the real data where none is given.
        judge_steps: training steps of the classifier, of 64 images each; harder data need more.
        seed: of the classifier.
    """

    better: ClassVar = {"frechet": "lower"}
    about: ClassVar = {
        "frechet": "Fréchet distance between Gaussians fitted to features of both sets: their means and "
        "spreads differ by as much."
    }

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare samples with real images."""
        return {"frechet": frechet_distance(self.features(samples), self.features(real))}


class PrecisionRecall(_Judged):
    """Precision and recall by nearest neighbours in the features of a small classifier (1904.06991).

    Args:
        k: which neighbour sets the radius of a point's ball.
        features: features to use instead; see `ClassifierFrechet`.
        judge: see `ClassifierFrechet`.
        judge_steps: training steps of the classifier, of 64 images each; harder data need more.
        seed: of the classifier.
    """

    better: ClassVar = {"precision": "higher", "recall": "higher"}
    about: ClassVar = {
        "precision": "Share of samples that lie among real examples, by nearest neighbours in features: how "
        "real they look.",
        "recall": "Share of real examples that lie among samples, by nearest neighbours in features: how "
        "much of the data is covered.",
    }

    def __init__(
        self,
        k: int = 3,
        features: Features | None = None,
        judge: Trained | None = None,
        judge_steps: int = 400,
        seed: int = 0,
    ) -> None:
        super().__init__(features, judge, judge_steps, seed)
        self.k = k

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare samples with real images."""
        precision, recall = precision_recall(self.features(samples), self.features(real), self.k)
        return {"precision": precision, "recall": recall}


class ClassAccuracy(_Judged):
    """Share of conditional samples whose class, as judged by a small classifier, is the one asked for.

    Args:
        judge: see `ClassifierFrechet`.
        judge_steps: training steps of the classifier, of 64 images each; harder data need more.
        seed: of the classifier.
    """

    better: ClassVar = {"class_accuracy": "higher"}
    about: ClassVar = {
        "class_accuracy": "Share of samples that a classifier takes for the class that was asked for."
    }

    def __init__(self, judge: Trained | None = None, judge_steps: int = 400, seed: int = 0) -> None:
        super().__init__(None, judge, judge_steps, seed)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Judge the samples; the real ones are not looked at.

        Raises:
            IncompatibleError: the samples carry no ``label``.
        """
        if "label" not in samples.cond:
            raise IncompatibleError("class-accuracy judges conditional samples, and these carry no 'label'")
        self.require_rows(samples, samples)
        return {"class_accuracy": self.accuracy(samples)}


class ImageQuality(_Judged):
    """Fréchet distance, precision, recall and, for conditional samples, class accuracy, by one judge.

    Args:
        k: which neighbour sets the radius of a point's ball in precision and recall.
        features: features for all but the accuracy; see `ClassifierFrechet`.
        judge: see `ClassifierFrechet`.
        judge_steps: training steps of the classifier, of 64 images each; harder data need more.
        seed: of the classifier.
    """

    better: ClassVar = {
        **ClassifierFrechet.better,
        **PrecisionRecall.better,
        **ClassAccuracy.better,
    }
    about: ClassVar = {**ClassifierFrechet.about, **PrecisionRecall.about, **ClassAccuracy.about}

    def __init__(
        self,
        k: int = 3,
        features: Features | None = None,
        judge: Trained | None = None,
        judge_steps: int = 400,
        seed: int = 0,
    ) -> None:
        super().__init__(features, judge, judge_steps, seed)
        self.k = k

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare samples with real images."""
        theirs, ours = self.features(real), self.features(samples)
        precision, recall = precision_recall(ours, theirs, self.k)
        values = {"frechet": frechet_distance(ours, theirs), "precision": precision, "recall": recall}
        if "label" in samples.cond:
            values["class_accuracy"] = self.accuracy(samples)
        return values


@torch.no_grad()
def _in_chunks(network: Features, examples: Examples, size: int = 512) -> Tensor:
    images = first_leaf(examples.x)
    return torch.cat([network(rows).cpu() for rows in images.float().split(size)])
