"""The shape of images, from a spec."""

from __future__ import annotations

from flowloom.errors import IncompatibleError
from flowloom.spec import Spec


def image_shape(spec: Spec, who: str) -> tuple[int, int, int]:
    """Channels, height and width of the images that ``spec`` describes.

    Raises:
        IncompatibleError: the states are not images of real values.
    """
    if spec.parts or spec.discrete or len(spec.shape) != 3:
        given = f"parts {sorted(spec.parts)}" if spec.parts else "tokens" if spec.discrete else "states"
        shape = "" if spec.parts else f" of shape {spec.shape}"
        raise IncompatibleError(
            f"a {who} reads images of real values, shape (channels, height, width); "
            f"the data are {given}{shape}; "
            "choose an image data set or codec, or another model (mlp takes any)"
        )
    channels, height, width = spec.shape
    return channels, height, width
