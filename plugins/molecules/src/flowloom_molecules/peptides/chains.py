"""Chains of PDB and mmCIF files, by gemmi: residues as frames, torsions and types, or the reason why not."""

from __future__ import annotations

import codecs
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from flowloom_molecules.data.overlap import overlapping
from flowloom_molecules.data.refused import Refusal, Refused
from flowloom_molecules.peptides.atoms import frames, torsions_of
from flowloom_molecules.peptides.form import ABSENT, PARTS
from flowloom_molecules.peptides.residues import LETTERS, NAMES, TORSIONS, folded, side_chain

__all__ = ["NEAR", "Limits", "peptides_in"]

NEAR = 10.0
"""To the pocket belong residues of the receptor whose CA is no further from one of the peptide, angstrom."""
_BROKEN = 2.0
"""C and the next N further apart than this (angstrom) are not bonded."""
_STRAIGHT = math.sin(math.radians(20))
"""N, CA and C whose angle has a smaller sine than this say no frame."""

Alternates = Literal["occupied", "refuse"]


@dataclass(frozen=True)
class Limits:
    """What a chain has to be.

    Args:
        shortest: residues.
        longest: residues; longer chains are receptors.
        pocket: residues of the pocket that are kept, the nearest.
        alternates: of residues in several places, take the most ``occupied``, or ``refuse`` the chain.
    """

    shortest: int
    longest: int
    pocket: int
    alternates: Alternates


def peptides_in(
    file: Path, limits: Limits, refused: list[Refused], receptor: Path | None = None
) -> Iterator[tuple[str, dict[str, Tensor], dict[str, Tensor]]]:
    """Sequence, residues, and pocket of every chain of the first model that is a peptide of these limits.

    Args:
        file: PDB or mmCIF, perhaps gzipped.
        limits: see `Limits`.
        refused: where chains that cannot be used are told.
        receptor: a file of its own, where the receptor is not in the same one; the folder then names them.
    """
    called = file.name if receptor is None else f"{file.parent.name}/{file.name}"
    try:
        chains = _chains(file)
        beside = [] if receptor is None else [r for _, residues in _chains(receptor) for r in residues]
    except (RuntimeError, ValueError, OSError, IndexError) as error:
        refused.append(Refused(called, called, f"unreadable ({str(error).splitlines()[0][:60]})"))
        return
    if not chains:
        refused.append(Refused(called, called, "no chain of amino acids"))
    for name, residues in chains:
        row = f"{called}:{name}"
        if receptor is None and limits.pocket and len(residues) > limits.longest:
            continue  # a receptor
        try:
            own = _peptide(residues, limits)
        except Refusal as reason:
            refused.append(Refused(row, row, str(reason)))
            continue
        others = [*beside, *(r for other, some in chains if other != name for r in some)]
        sequence = "".join(LETTERS[k] for k in own["types"].tolist())
        yield sequence, own, _pocket(own, others, limits) if limits.pocket else {}


def _chains(file: Path) -> list[tuple[str, list[Any]]]:
    """Chains of amino acids of the first model, by name."""
    import gemmi

    with open(file, "rb") as opened:
        marked = opened.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    if marked:
        # Editors put a mark of the byte order in front: gemmi would lose the first line, perhaps an atom.
        text = file.read_bytes().removeprefix(codecs.BOM_UTF8)
        structure = gemmi.read_structure_string(text, format=gemmi.CoorFormat.Detect)
    else:
        structure = gemmi.read_structure(str(file))
    structure.setup_entities()
    chains = [(c.name, list(c.get_polymer())) for c in structure[0]] if len(structure) else []
    return [(name, residues) for name, residues in chains if residues]


def _peptide(residues: Sequence[Any], limits: Limits) -> dict[str, Tensor]:
    if len(residues) > limits.longest:
        raise Refusal(f"longer than {limits.longest} residues")
    if len(residues) < limits.shortest:
        raise Refusal(f"shorter than {limits.shortest} residues")
    places = [str(r.seqid) for r in residues]
    if len(set(places)) < len(places):
        raise Refusal("two residues at one place")
    atoms = [_atoms(r, limits.alternates) for r in residues]
    for one, following, here, there in zip(atoms, atoms[1:], residues, residues[1:], strict=False):
        labels = (here.label_seq, there.label_seq)
        jumps = None not in labels and labels[1] != labels[0] + 1
        if jumps or np.linalg.norm(one["C"] - following["N"]) > _BROKEN:
            raise Refusal("missing residues (a gap in the chain)")
    if "O" not in atoms[-1]:
        raise Refusal("missing backbone atoms")
    kinds = [NAMES.index(r.name) for r in residues]
    return _told(atoms, kinds, [*[a["N"] for a in atoms[1:]], None])


def _atoms(residue: Any, alternates: Alternates) -> dict[str, Any]:
    """Places of the heavy atoms of one residue by name, all that its type needs."""
    if residue.name not in NAMES:
        raise Refusal(f"an unknown residue ({residue.name})")
    if alternates == "refuse" and any(atom.has_altloc() for atom in residue):
        raise Refusal("alternate locations")
    chosen = _occupied(residue)
    if not {"N", "CA", "C"} <= set(chosen):
        raise Refusal("missing backbone atoms")
    if any(one.name not in chosen for one in side_chain(NAMES.index(residue.name))):
        raise Refusal("missing side-chain atoms")
    atoms = {name: np.array(atom.pos.tolist()) for name, atom in chosen.items()}
    place = np.stack(list(atoms.values()))
    if not np.isfinite(place).all():
        raise Refusal("coordinates that are no numbers")
    if overlapping(place):
        raise Refusal("overlapping atoms")
    to_n, to_c = atoms["N"] - atoms["CA"], atoms["C"] - atoms["CA"]
    across = np.linalg.norm(np.cross(to_n, to_c))
    if across < _STRAIGHT * np.linalg.norm(to_n) * np.linalg.norm(to_c):
        raise Refusal("backbone atoms on a line")
    return atoms


def _occupied(residue: Any) -> dict[str, Any]:
    """Heavy atoms by name, of the location of the residue that is the most occupied wherever it has them."""
    heavy = [atom for atom in residue if not atom.is_hydrogen()]
    shares: Counter[str] = Counter()
    for atom in heavy:
        if atom.has_altloc():
            shares[atom.altloc] += atom.occ
    most = max(shares, key=lambda mark: shares[mark], default="")
    chosen: dict[str, Any] = {}
    for atom in sorted(heavy, key=lambda atom: (atom.altloc != most, -atom.occ)):
        chosen.setdefault(atom.name, atom)
    return chosen


def _told(
    atoms: Sequence[Mapping[str, Any]], kinds: Sequence[int], following: Sequence[Any]
) -> dict[str, Tensor]:
    """Residues by part, from their atoms."""
    n, ca, c = (torch.tensor(np.array([a[name] for a in atoms])) for name in ("N", "CA", "C"))
    types = torch.tensor(kinds)
    turns = [torsions_of(a, k, after) for a, k, after in zip(atoms, kinds, following, strict=True)]
    return {
        "pos": ca.float(),
        "rot": frames(n, ca, c).float(),
        "angles": folded(torch.stack(turns), types).float(),
        "types": types,
    }


def _pocket(own: Mapping[str, Tensor], others: Sequence[Any], limits: Limits) -> dict[str, Tensor]:
    """The nearest residues of other chains, those that are whole; the rest is `ABSENT`."""
    near: list[tuple[float, Any, int]] = []
    for residue in others:
        try:
            atoms = _atoms(residue, "occupied")
        except Refusal:
            continue
        apart = (own["pos"].double() - torch.tensor(atoms["CA"])).norm(dim=-1).min()
        if apart <= NEAR:
            near.append((float(apart), atoms, NAMES.index(residue.name)))
    near = sorted(near, key=lambda one: one[0])[: limits.pocket]
    size = limits.pocket
    empty = {
        "pos": torch.zeros(size, 3),
        "rot": torch.eye(3).expand(size, 3, 3).clone(),
        "angles": torch.zeros(size, TORSIONS),
        "types": torch.full((size,), ABSENT),
    }
    if near:
        found = _told([a for _, a, _ in near], [k for _, _, k in near], [None] * len(near))
        for part in PARTS:
            empty[part][: len(near)] = found[part]
    return empty
