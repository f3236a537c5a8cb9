"""Names that known plugins provide, so that a recipe that needs one not installed can say which.

Only read when a name is unknown: an installed plugin always speaks for itself.
"""

from __future__ import annotations

PROVIDED: dict[str, tuple[str, ...]] = {
    "flowloom-images": (
        "dataset/digits",
        "model/unet",
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
