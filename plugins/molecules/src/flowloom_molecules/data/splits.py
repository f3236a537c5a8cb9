"""Splits that a row's own name decides, so that they stay when a file grows or is sorted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from flowloom.errors import DataError

SPLITS = ("train", "val", "test")


def require_shares(val: float, test: float) -> None:
    """Ask for shares that leave something to train on.

    Raises:
        DataError: they do not.
    """
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise DataError(f"val and test are shares that leave something to train on, got {val} and {test}")


def no_split(called: str, name: str, sizes: Mapping[str, int]) -> DataError:
    """What there is in place of a split that is asked for; ``sizes`` has the rows of each."""
    has = ", ".join(f"{split} ({n} row{'s' * (n > 1)})" for split, n in sizes.items() if n)
    # Names decide, so that the share of a file of few rows may have none.
    hint = f"; no row's name falls into its share, '{name}': raise it, or give more rows"
    return DataError(f"{called} has no split '{name}'; it has: {has}{hint if name in sizes else ''}")


def divide(keys: Sequence[str], val: float, test: float) -> dict[str, Tensor]:
    """Rows of every split; rows of one key are never torn apart.

    Args:
        keys: a name of every row (canonical SMILES, a material's id).
        val: share of the validation split.
        test: share of the test split.
    """
    return divide_places(torch.tensor([unit(key) for key in keys], dtype=torch.float64), val, test)


def divide_places(place: Tensor, val: float, test: float) -> dict[str, Tensor]:
    """Rows of every split, by where their names stand between 0 and 1 (`unit`)."""
    in_test, in_val = place < test, (place >= test) & (place < test + val)
    found = {"train": ~(in_test | in_val), "val": in_val, "test": in_test}
    return {name: rows.nonzero(as_tuple=True)[0] for name, rows in found.items()}


def unit(key: str) -> float:
    """Where a name stands between 0 and 1, the same everywhere."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
