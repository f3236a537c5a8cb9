"""Sizes of networks that cannot be, told in one line where the network is made."""

from __future__ import annotations


def require_sizes(**sizes: int | None) -> None:
    """Ask for sizes (widths, depths, heads) of at least 1; what is None is left to the network.

    Raises:
        ValueError: names the size.
    """
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
