"""Conditions and how they are withheld.

``cond`` is a flat dict of tensors whose first dimension is the batch. What each is for, its role, is
declared by the spec (`flowloom.spec.Condition`); names mean nothing, but for these:

* ``null``: boolean ``(batch,)``, True for rows whose informing conditions are withheld. Classifier-free
  training draws it per row, and guidance sets it for its unconditional branch, so the true labels stay
  visible to the objective.
* ``null_<name>``: the same for the condition ``<name>`` alone, for guidance over subsets of conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from flowloom.state import Cond, expand

__all__ = ["doubled", "drop", "is_null", "or_zeros", "require_dropout", "withheld", "without"]


def withheld(cond: Mapping[str, Tensor | None], name: str) -> Tensor | None:
    """Rows ``(batch,)`` in which condition ``name`` is withheld, or None where it never is."""
    everywhere, own = cond.get("null"), cond.get(f"null_{name}")
    if everywhere is None or own is None:
        return own if everywhere is None else everywhere
    return everywhere | own


def or_zeros(cond: Cond, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
    """A condition of real values, ``(batch, *shape)`` in the precision of ``like``; 0 where it is withheld.

    Args:
        cond: conditions; zeros throughout where they do not have this one.
        name: of it.
        shape: of a row, into which values are brought.
        like: a state of the same rows.
    """
    value = cond.get(name)
    if value is None:
        return like.new_zeros(len(like), *shape)
    value, off = value.reshape(len(like), *shape).to(like.dtype), withheld(cond, name)
    return value if off is None else value.masked_fill(expand(off, value), 0)


def without(cond: Cond, n: int, names: Iterable[str] = (), device: torch.device | None = None) -> Cond:
    """The same conditions with all of them (or only ``names``) withheld from all ``n`` rows."""
    everything = torch.ones(n, dtype=torch.bool, device=device)
    keys = [f"null_{name}" for name in names] or ["null"]
    return {**cond, **dict.fromkeys(keys, everything)}


def require_dropout(rate: float) -> None:
    """Ask for a share of rows from which conditions can be withheld.

    Raises:
        ValueError: it is none, or leaves no row told.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"condition_dropout must lie in [0, 1), got {rate}")


def drop(cond: Cond, rate: float, n: int, generator: torch.Generator | None) -> Cond:
    """Withhold all conditions from each of ``n`` rows independently with probability ``rate``."""
    if rate <= 0 or not cond:
        return cond
    device = next(iter(cond.values())).device
    draws = torch.rand(n, generator=generator, device=generator.device if generator else device)
    return {**cond, "null": (draws < rate).to(device)}


def doubled(cond: Cond, n: int, names: Iterable[str] = (), device: torch.device | None = None) -> Cond:
    """The conditions of one call for both branches of guidance: ``n`` rows as they are, then ``n`` withheld.

    Args:
        cond: conditions of ``n`` rows; what they withhold already is withheld in both halves.
        n: number of rows.
        names: what the second half withholds, everything where empty.
        device: of the rows.
    """
    kept = {name: torch.cat([value] * 2) for name, value in cond.items() if not is_null(name)}
    off = without({}, n, names, device)
    marks = {name: torch.cat([torch.zeros_like(rows), rows]) for name, rows in off.items()}
    for name, value in cond.items():
        if is_null(name):
            both = torch.cat([value] * 2)
            marks[name] = both | marks[name] if name in marks else both
    return kept | marks


def is_null(name: str) -> bool:
    """Whether a name is one of the two that withhold."""
    return name == "null" or name.startswith("null_")
