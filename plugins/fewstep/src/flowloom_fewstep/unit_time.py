"""Methods that divide, jump or move in a time which runs from 0 at the source to 1 at the data."""

from __future__ import annotations

from flowloom.errors import IncompatibleError
from flowloom.paths import Path
from flowloom.times import TimeLaw

__all__ = ["require_unit_time"]


def require_unit_time(method: str, path: Path, *laws: TimeLaw | None) -> None:
    """Ask for a path, and laws of times, on [0, 1].

    Args:
        method: who asks, for the message.
        path: of the states.
        laws: of times; None for one that the method chooses.

    Raises:
        IncompatibleError: the path runs in noise levels, say, or a law draws beyond [0, 1].
    """
    if tuple(path.span) != (0.0, 1.0):
        raise IncompatibleError(
            f"{method} runs from time 0 to 1, and {path} from {path.span[0]:g} to {path.span[1]:g}; "
            "use path: affine or geodesic"
        )
    for law in laws:
        if law is not None and not 0 <= law.support[0] <= law.support[1] <= 1:
            raise IncompatibleError(
                f"{method} draws times of [0, 1], and {type(law).__name__} draws in "
                f"[{law.support[0]:g}, {law.support[1]:g}]; use times: uniform or logit-normal"
            )
