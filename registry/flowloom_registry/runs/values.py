"""Values of other people's metrics and scores, looked at before anything is written or drawn of them."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from flowloom.errors import IncompatibleError


def named_values(found: Any) -> dict[str, float]:
    """Named numbers as plain floats.

    Raises:
        IncompatibleError: it is no mapping of names to numbers; says what is not.
    """
    if not isinstance(found, Mapping):
        raise IncompatibleError(f"it returned a {type(found).__name__}, not a dict of named floats")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, numbers.Real):
            what = f"{type(value).__name__} under {name!r}"
            raise IncompatibleError(f"it returned a {what}, and values are floats: float(value)")
    return {name: float(value) for name, value in found.items()}
