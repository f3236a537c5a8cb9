"""Molecules as a chemist reads them: bonds perceived from positions, by RDKit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from flowloom.data import Examples
from flowloom.errors import DataError, MissingDependencyError
from flowloom.spec import Spec

FAR = 1e4
_Kind = TypeVar("_Kind", str, int)


@dataclass(frozen=True)
class Perceived:
    """One molecule of a state.

    Args:
        connected: RDKit molecule with single bonds between atoms near enough, never sanitised.
        whole: the molecule with bond orders, sanitised; None where there is none.
        smiles: canonical SMILES of ``whole`` without stereo marks, empty where there is none.
        fragments: connected parts.
    """

    connected: Any
    whole: Any
    smiles: str
    fragments: int


class Reader(Protocol):
    """What makes molecules of states."""

    def __call__(self, examples: Examples) -> list[Perceived]:
        """Every row."""


class Perception:
    """Reads states of one spec.

    Args:
        spec: of the data, whose ``types`` and ``charges`` have symbols and numbers as tokens.

    Raises:
        DataError: the data has no such parts.
        MissingDependencyError: RDKit is not installed.
    """

    def __init__(self, spec: Spec) -> None:
        try:
            import rdkit
        except ImportError as error:
            raise MissingDependencyError("molecules are read by RDKit; pip install rdkit") from error
        del rdkit
        if not {"pos", "types"} <= set(spec.parts) or not spec.parts["types"].tokens:
            raise DataError(
                "molecules are states with the parts pos and types (tokens named by elements); this data has "
                f"{', '.join(spec.parts) or 'one tensor'}"
            )
        self.elements = spec.parts["types"].tokens
        told = spec.parts.get("charges")
        self.charges = tuple(int(c) for c in told.tokens) if told is not None else (0,)

    def __call__(self, examples: Examples) -> list[Perceived]:
        """Every row."""
        x: Any = examples.x
        real = examples.cond.get("atoms")
        pos, types = x["pos"].detach().cpu().double(), x["types"].cpu()
        charges = x["charges"].cpu() if "charges" in x else types * 0
        found = []
        for i in range(len(types)):
            there = slice(None) if real is None else real[i].cpu()
            # A mask that has not been lifted is no element; it shows as a star.
            symbols = [_at(self.elements, int(z), "*") for z in types[i][there]]
            formal = [_at(self.charges, int(c), 0) for c in charges[i][there]]
            found.append(perceive(symbols, formal, pos[i][there].tolist()))
        return found


def _at(kinds: Sequence[_Kind], i: int, other: _Kind) -> _Kind:
    return kinds[i] if i < len(kinds) else other


def perceive(symbols: list[str], charges: list[int], positions: list[list[float]]) -> Perceived:
    """Bonds of atoms at given places.

    Atoms are joined where they are nearer than 1.3 times the sum of their covalent radii; bond orders
    follow from the valences and the sum of the formal charges (Kim and Kim 2015, as in RDKit).
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDetermineBonds

    editable = Chem.RWMol()
    shape = Chem.Conformer(len(symbols))
    for i, (symbol, place) in enumerate(zip(symbols, positions, strict=True)):
        editable.AddAtom(Chem.Atom(symbol))
        shape.SetAtomPosition(i, [min(max(float(v), -FAR), FAR) if v == v else FAR for v in place])
    editable.AddConformer(shape)
    bare = editable.GetMol()
    with rdBase.BlockLogs():
        rdDetermineBonds.DetermineConnectivity(bare, useVdw=False)
        fragments = len(Chem.GetMolFrags(bare))
        if fragments != 1 or "*" in symbols or not _plausible(bare):
            return Perceived(bare, None, "", fragments)
        whole = Chem.Mol(bare)
        try:
            rdDetermineBonds.DetermineBondOrders(whole, charge=sum(charges), maxIterations=1000)
            Chem.SanitizeMol(whole)
            smiles = Chem.MolToSmiles(Chem.RemoveHs(whole), isomericSmiles=False)
        except (ValueError, RuntimeError):
            return Perceived(bare, None, "", fragments)
    if any(atom.GetNumRadicalElectrons() for atom in whole.GetAtoms()):
        return Perceived(bare, None, "", fragments)
    return Perceived(bare, whole, smiles, fragments)


def _plausible(bare: Any) -> bool:
    """Whether bond orders can be asked for at all: their search explodes where atoms are crowded."""
    most = {"H": 1, "C": 4, "N": 4, "O": 3, "F": 1, "Cl": 4, "Br": 4, "I": 5}
    return all(atom.GetDegree() <= most.get(atom.GetSymbol(), 6) for atom in bare.GetAtoms())
