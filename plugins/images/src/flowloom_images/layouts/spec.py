"""What a layout is: up to so many typed boxes, in no order."""

from __future__ import annotations

from collections.abc import Sequence

from flowloom.spec import Condition, Spec

PARTS = ("position", "size", "types")


def layout_spec(elements: int, names: Sequence[str]) -> Spec:
    """Spec of layouts as data: centres and sizes in [0, 1] of the page, and types.

    Args:
        elements: most elements of a layout; fewer are padded, and the condition ``real`` says which exist.
        names: of the types.
    """
    return Spec(
        parts={
            "position": Spec((elements, 2), limits=(0.0, 1.0)),
            "size": Spec((elements, 2), limits=(0.0, 1.0)),
            "types": Spec((elements,), vocab=len(names), tokens=tuple(names)),
        },
        conditions={"real": Condition(shape=(elements,), role="real", of=", ".join(PARTS))},
    )
