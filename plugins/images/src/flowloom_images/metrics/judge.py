"""The judge: a small classifier trained on the real training split, and its features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.data import Dataset
from flowloom.errors import IncompatibleError
from flowloom_images.models.image_spec import image_shape


class Judge(nn.Module):
    """A compact convolutional classifier whose penultimate layer serves as features.

    Two convolutions per level, levels halving the image until it is at most 4 pixels wide, then a linear
    layer to the features and one to the classes.

    Args:
        shape: of the images, ``(C, H, W)``.
        classes: number of classes.
        width: channels of the first level.
        features: size of the penultimate layer.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, width: int = 32, features: int = 64
    ) -> None:
        super().__init__()
        channels, height, breadth = shape
        layers: list[nn.Module] = []
        while True:
            for _ in range(2):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            if max(height, breadth) <= 4:
                break
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            height, breadth, width = -(-height // 2), -(-breadth // 2), min(2 * width, 128)
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.to_features = nn.Linear(channels * height * breadth, features)
        self.to_logits = nn.Linear(features, classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features ``(n, d)`` of images ``(n, C, H, W)`` in [-1, 1]."""
        return self.to_features(self.body(images))

    def forward(self, images: Tensor) -> Tensor:
        """Class logits ``(n, classes)``."""
        return self.to_logits(F.relu(self.features(images)))


def train_judge(train: Dataset, *, steps: int = 400, batch: int = 64, seed: int = 0) -> Judge:
    """A judge fitted to the images and labels of ``train``; same data and seed, same judge.

    Cross entropy with a little label smoothing, AdamW under a one-cycle schedule, and shifts of up to an
    eighth of the image.

    Args:
        train: images with class ids as condition ``label``.
        steps: of the optimiser.
        batch: images per step.
        seed: of weights, batches and shifts.

    Raises:
        IncompatibleError: the data have no classes to judge by.
    """
    shape = image_shape(train.spec, "classifier")
    label = train.spec.conditions.get("label")
    if label is None or label.classes is None or label.classes < 2:
        raise IncompatibleError(
            "the image metrics judge by a classifier of the condition 'label', and the data have no classes; "
            "use data with classes, give features: 'module:function', or use energy-distance"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(seed)
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad(), _one_thread():
        torch.manual_seed(seed)
        judge = Judge(shape, label.classes).to(device)
        optimiser = torch.optim.AdamW(judge.parameters(), lr=5e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=5e-3, total_steps=steps)
        reach = max(1, max(shape[1:]) // 8)
        order = _shuffled(len(train), steps * batch, generator)
        for rows in order.split(batch):
            examples = train.take(rows).to(device)
            images = _shifted(examples.x, reach, generator)  # type: ignore[arg-type]
            loss = F.cross_entropy(judge(images), examples.cond["label"], label_smoothing=0.05)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return judge.eval().requires_grad_(False)


_judges: WeakKeyDictionary[Dataset, dict[tuple[int, int], Judge]] = WeakKeyDictionary()


def judge_of(train: Dataset, steps: int = 400, seed: int = 0) -> Judge:
    """The judge of a training split, trained once per data set object however many metrics ask."""
    known = _judges.setdefault(train, {})
    if (steps, seed) not in known:
        known[steps, seed] = train_judge(train, steps=steps, seed=seed)
    return known[steps, seed]


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


def _shuffled(count: int, wanted: int, generator: torch.Generator) -> Tensor:
    epochs = -(-wanted // count)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(epochs)])[:wanted]


def _shifted(images: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    # One shift for the whole batch: a view, where a shift per image would be a gather.
    down, right = (int(n) for n in torch.randint(2 * reach + 1, (2,), generator=generator))
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    return padded[..., down : down + images.shape[-2], right : right + images.shape[-1]]
