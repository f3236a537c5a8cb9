"""Metrics of images."""

from flowloom.metrics.frechet import frechet_distance, gaussian_frechet
from flowloom_images.metrics.judge import Judge, judge_of, train_judge
from flowloom_images.metrics.manifolds import precision_recall
from flowloom_images.metrics.quality import ClassAccuracy, ClassifierFrechet, ImageQuality, PrecisionRecall

__all__ = [
    "ClassAccuracy",
    "ClassifierFrechet",
    "ImageQuality",
    "Judge",
    "PrecisionRecall",
    "frechet_distance",
    "gaussian_frechet",
    "judge_of",
    "precision_recall",
    "train_judge",
]
