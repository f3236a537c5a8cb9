"""Conditions and how they are withheld.

``cond`` is a flat dict of tensors whose first dimension is the batch (label, text embedding, mask,
context ...). Reserved names:

* ``mask``: boolean ``(batch, L)``, True where an entry is real and not padding. Never withheld.
* ``prompt_mask``: boolean ``(batch, L)``, True where the state is given and must not move, and
  ``prompt``: the states given there (``(batch, L, ...)``, anything elsewhere). Source, loss and jump
  solvers respect them; never withheld.
* ``x0``: where each path starts; ``source: paired`` reads it.
* ``null``: boolean ``(batch,)``, True for rows whose conditions are withheld. Classifier-free training
  draws it per row, and guidance sets it for its unconditional branch, so the true labels stay visible to
  the objective.
* ``null_<name>``: the same for the condition ``<name>`` alone, for guidance over subsets of conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from flowloom.state import Cond

__all__ = ["drop", "informative", "repeat", "withheld", "without"]


def informative(name: str) -> bool:
    """Whether a condition tells the network something beside the state, which guidance can withhold.

    Masks, prompts and starting points show in the state itself.
    """
    return not (name.endswith("mask") or name in ("prompt", "x0") or name.startswith("null"))


def withheld(cond: Mapping[str, Tensor | None], name: str) -> Tensor | None:
    """Rows ``(batch,)`` in which condition ``name`` is withheld, or None where it never is."""
    everywhere, own = cond.get("null"), cond.get(f"null_{name}")
    if everywhere is None or own is None:
        return own if everywhere is None else everywhere
    return everywhere | own


def without(cond: Cond, n: int, names: Iterable[str] = (), device: torch.device | None = None) -> Cond:
    """The same conditions with all of them (or only ``names``) withheld from all ``n`` rows."""
    everything = torch.ones(n, dtype=torch.bool, device=device)
    keys = [f"null_{name}" for name in names] or ["null"]
    return {**cond, **dict.fromkeys(keys, everything)}


def drop(cond: Cond, rate: float, n: int, generator: torch.Generator | None) -> Cond:
    """Withhold all conditions from each of ``n`` rows independently with probability ``rate``."""
    if rate <= 0 or not cond:
        return cond
    device = next(iter(cond.values())).device
    draws = torch.rand(n, generator=generator, device=generator.device if generator else device)
    return {**cond, "null": (draws < rate).to(device)}


def repeat(cond: Cond, times: int) -> dict[str, Tensor]:
    """Stack ``times`` copies of every condition along the batch, for one doubled network call."""
    return {name: torch.cat([value] * times) for name, value in cond.items()}
