"""The form of peptides as states, and of the pocket that is told beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom.state import State
from flowloom_molecules.peptides.residues import LETTERS, TORSIONS

__all__ = [
    "ABSENT",
    "PARTS",
    "POCKET",
    "Residues",
    "examples",
    "peptide_spec",
    "pocket_of",
    "require_peptides",
]

PARTS = ("pos", "rot", "angles", "types")
"""CA in angstrom ``(n, 3)``, frames ``(n, 3, 3)``, psi and chi 1 to 4 in ``[0, 2 pi)`` ``(n, 5)``, types."""
POCKET = tuple(f"pocket_{part}" for part in PARTS)
"""The same of the receptor's residues, which never move."""
ABSENT = len(LETTERS)
"""Type of a residue of the pocket that is none."""

Residues = Mapping[str, Tensor]
"""Residues by the names of `PARTS`, each with the same leading dimensions."""


def peptide_spec(length: int, pocket: int = 0) -> Spec:
    """Peptides of up to ``length`` residues, with ``pocket`` residues of the receptor told beside them."""
    parts = {
        "pos": Spec((length, 3)),
        "rot": Spec((length, 3, 3)),
        "angles": Spec((length, TORSIONS)),
        "types": Spec((length,), vocab=len(LETTERS), tokens=tuple(LETTERS)),
    }
    told = {"residues": Condition(shape=(length,), role="real", of=", ".join(PARTS))}
    if pocket:
        told["pocket_pos"] = Condition(shape=(pocket, 3))
        told["pocket_rot"] = Condition(shape=(pocket, 3, 3))
        told["pocket_angles"] = Condition(shape=(pocket, TORSIONS))
        told["pocket_types"] = Condition(classes=len(LETTERS) + 1, shape=(pocket,), names=(*LETTERS, "none"))
    return Spec(parts=parts, conditions=told)


def examples(chain: Residues, real: Tensor, pocket: Residues | None = None) -> Examples:
    """Rows in the frame whose origin is the mean of the peptide's CA; padding is 0, its frames the identity.

    Args:
        chain: residues ``(batch, n, ...)``.
        real: which exist, ``(batch, n)``.
        pocket: residues ``(batch, p, ...)``, those of type `ABSENT` being none.
    """
    share = real.to(chain["pos"]) / real.sum(1, keepdim=True)
    centre = (share[..., None] * torch.where(real[..., None], chain["pos"], 0.0)).sum(1, keepdim=True)
    x: State = _cleared({**chain, "pos": chain["pos"] - centre}, real)
    cond = {"residues": real}
    if pocket is not None:
        moved = _cleared({**pocket, "pos": pocket["pos"] - centre}, pocket["types"] != ABSENT)
        cond |= {f"pocket_{part}": value for part, value in moved.items() if part != "types"}
        cond["pocket_types"] = pocket["types"]
    return Examples(x, cond)


def pocket_of(cond: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The residues of the pocket that conditions tell of; None where they tell of none."""
    if any(name not in cond for name in POCKET):
        return None
    return {part: cond[f"pocket_{part}"] for part in PARTS}


def require_peptides(spec: Spec, who: str) -> int:
    """The length of the longest peptide of such data.

    Raises:
        IncompatibleError: they are no peptides.
    """
    if set(spec.parts) != set(PARTS):
        raise IncompatibleError(
            f"{who} is of peptides with the parts {', '.join(PARTS)}; the data has "
            f"{', '.join(spec.parts) or 'one tensor'}"
        )
    return spec.parts["pos"].shape[0]


def _cleared(residues: Residues, real: Tensor) -> dict[str, Any]:
    eye = torch.eye(3, dtype=residues["rot"].dtype, device=real.device)
    return {
        "pos": torch.where(real[..., None], residues["pos"], 0.0),
        "rot": torch.where(real[..., None, None], residues["rot"], eye),
        "angles": torch.where(real[..., None], residues["angles"], 0.0),
        "types": torch.where(real, residues["types"], 0),
    }
