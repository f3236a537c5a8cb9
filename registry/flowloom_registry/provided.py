"""Names that known plugins provide, so that a recipe that needs one not installed can say which.

Only read when a name is unknown: an installed plugin always speaks for itself.
"""

from __future__ import annotations

PROVIDED: dict[str, tuple[str, ...]] = {
    "flowloom-images": (
        "dataset/digits",
        "dataset/mnist",
        "dataset/fashion-mnist",
        "dataset/cifar10",
        "dataset/image-folder",
        "model/unet",
        "model/dit",
        "metric/image-quality",
        "metric/classifier-frechet",
        "metric/precision-recall",
        "metric/class-accuracy",
        "geometry/unit-box",
        "renderer/image-grid",
        "recipe/digits",
        "recipe/digits-small",
        "recipe/mnist-unet",
        "recipe/cifar10-unet",
        "recipe/imagenet64-adm",
        "recipe/imagenet-sit-xl-2",
    ),
}
"""Distribution -> ``kind/name`` of its rows (``recipe/name`` for recipes)."""


def provider(kind: str, name: str) -> str | None:
    """The distribution known to provide ``name``, or None."""
    label = f"{kind}/{name}"
    return next((dist for dist, labels in PROVIDED.items() if label in labels), None)


def distribution_of(plugin: str) -> str | None:
    """The distribution known to hold the plugin of that name, or None."""
    name = f"flowloom-{plugin}"
    return name if name in PROVIDED else None
