"""A small convolutional classifier: judge of samples, guide of flows."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.models import TimeEmbedding, told_apart
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom_images.models.image_spec import image_shape


class ImageClassifier(nn.Module):
    """Convolutions that answer with logits of classes, and whose last hidden layer serves as features.

    Two convolutions per level, levels halving the image until it is at most 4 pixels wide, then a linear
    layer to the features and one to the classes.

    Args:
        spec: of the data: images of real values with classes.
        label: the condition whose classes it tells apart.
        width: channels of the first level.
        dim: size of the features.
        timed: whether it reads the time, for points on the way; a judge of data needs none.
    """

    def __init__(
        self, spec: Spec, label: str = "label", width: int = 32, dim: int = 64, timed: bool = False
    ) -> None:
        super().__init__()
        require_sizes(width=width, dim=dim)
        self.spec, self.classifies = told_apart(spec, label)
        channels, height, breadth = image_shape(spec, "classifier")
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
        self.time = TimeEmbedding(dim) if timed else None
        self.to_features = nn.Linear(channels * height * breadth, dim)
        self.to_logits = nn.Linear(dim, self.classifies)

    def features(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """What the last hidden layer makes of images ``(batch, C, H, W)``, ``(batch, dim)``."""
        hidden: Tensor = self.to_features(self.body(x))
        return hidden if self.time is None else hidden + self.time(t)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of images at times ``t``."""
        logits: Tensor = self.to_logits(F.relu(self.features(x, t, cond)))
        return logits
