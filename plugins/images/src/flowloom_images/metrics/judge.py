"""The judge: a small classifier trained on the real training split, and its features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.models import TellsFeatures
from flowloom.objectives import Classification
from flowloom.spec import Spec
from flowloom.trained import Trained
from flowloom.training import AdamW, Cosine, Rows
from flowloom_images.models.classifier import ImageClassifier
from flowloom_images.models.image_spec import image_shape
from flowloom_images.views import Crop

BATCH = 64


class Judge:
    """A trained classifier of images, and its features.

    Args:
        trained: with objective ``classification``.

    Raises:
        IncompatibleError: what was trained tells no classes, or no features.
    """

    def __init__(self, trained: Trained) -> None:
        model = trained.flow.model
        if not trained.classifies or not isinstance(model, TellsFeatures):
            raise IncompatibleError(
                f"the judge of images is a classifier with features, and the run given trained "
                f"{type(model).__name__}; take one of model: image-classifier and objective: classification"
            )
        self.trained, self.told = trained, model

    def features(self, images: Tensor) -> Tensor:
        """What the classifier's last hidden layer makes of images ``(n, C, H, W)``, ``(n, d)``."""
        x, t = self._asked(images)
        return self.told.features(x, t, {})

    def logits(self, images: Tensor) -> Tensor:
        """Of classes, ``(n, classes)``."""
        x, t = self._asked(images)
        logits: Tensor = self.trained(x, t)
        return logits

    def _asked(self, images: Tensor) -> tuple[Tensor, Tensor]:
        flow = self.trained.flow
        x = flow.encode(Examples(images.to(flow.device))).x
        assert isinstance(x, Tensor)
        return x, x.new_full((len(x),), flow.path.span[1])


def train_judge(train: Dataset, *, steps: int = 400, seed: int = 0) -> Judge:
    """A judge fitted to the images and labels of ``train``; same data and seed, same judge.

    Cross entropy with a little label smoothing, AdamW under a cosine, and shifts of up to an eighth of the
    image.

    Args:
        train: images with class ids as condition ``label``.
        steps: of the optimiser, of 64 images each.
        seed: of weights, batches and shifts.

    Raises:
        IncompatibleError: the data have no classes to judge by.
    """
    data = _Labelled(train)
    side = min(image_shape(data.spec, "classifier")[1:])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad(), _one_thread():
        torch.manual_seed(seed)
        objective = Classification(noised=False, smoothing=0.05)
        flow = Flow(ImageClassifier(data.spec), spec=data.spec, objective=objective)
        flow.fit(
            Rows(data, [Crop(max(1, side // 8))]),
            seed=seed,
            device=device,
            steps=steps,
            batch=BATCH,
            lr=5e-3,
            optimizer=AdamW(weight_decay=0.05),
            decay=Cosine(warmup=steps * 3 // 10),
            clip=0.0,
            ema=0.0,
            log_every=steps,
            prefetch="off",
        )
    return Judge(Trained(flow))


_judges: WeakKeyDictionary[Dataset, dict[tuple[int, int], Judge]] = WeakKeyDictionary()


def judge_of(train: Dataset, steps: int = 400, seed: int = 0) -> Judge:
    """The judge of a training split, trained once per data set object however many metrics ask."""
    known = _judges.setdefault(train, {})
    if (steps, seed) not in known:
        known[steps, seed] = train_judge(train, steps=steps, seed=seed)
    return known[steps, seed]


class _Labelled(Dataset):
    """Images and their classes, without whatever else is told of them."""

    def __init__(self, data: Dataset) -> None:
        label = data.spec.conditions.get("label")
        if label is None or label.classes is None or label.classes < 2:
            raise IncompatibleError(
                "the image metrics judge by a classifier of the condition 'label', and the data have no "
                "classes; use data with classes, give features: 'module:function', or use energy-distance"
            )
        self.data, self._spec = data, replace(data.spec, conditions={"label": label}, limits=None)

    @property
    def spec(self) -> Spec:
        return self._spec

    def __len__(self) -> int:
        return len(self.data)

    def take(self, rows: Tensor) -> Examples:
        found = self.data.take(rows)
        return Examples(found.x, {"label": found.cond["label"]})


@contextmanager
def _one_thread() -> Iterator[None]:
    # Sums then come out the same on any number of cores, and so does the judge; on small images threads
    # would gain little, and lose much on a busy machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
