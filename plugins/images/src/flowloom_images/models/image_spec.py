"""What a backbone needs to know of its data: the shape of images, and the conditions it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec


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


def halved_image_shape(spec: Spec, who: str, levels: int) -> tuple[int, int, int]:
    """`image_shape` of images that a network of so many levels can halve between them.

    Raises:
        IncompatibleError: the data are no images, or a level cannot be halved.
    """
    channels, height, width = image_shape(spec, who)
    factor = 2 ** (levels - 1)
    if height % factor or width % factor:
        raise IncompatibleError(
            f"a {who} of {levels} levels halves its images {levels - 1} times, and "
            f"{height} x {width} is not divisible by {factor}; give fewer multipliers or pad the images"
        )
    return channels, height, width


def chosen(spec: Spec, names: Sequence[str] | None) -> Mapping[str, Condition]:
    """The conditions of ``spec`` that a network is told to read, and its settings; all where ``names`` is
    None.

    Raises:
        IncompatibleError: the data have no condition of that name.
    """
    if names is None:
        return spec.conditions
    for name in names:
        if name not in spec.conditions:
            raise IncompatibleError(
                f"the data have no condition '{name}'; they have: {', '.join(spec.conditions) or 'none'}"
            )
    return {name: c for name, c in spec.conditions.items() if name in names or c.role == "setting"}
