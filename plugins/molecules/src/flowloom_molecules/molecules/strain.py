"""How much more energy drawn molecules have than RDKit's own conformers of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from flowloom.data import Examples
from flowloom.errors import DataError, MissingDependencyError
from flowloom.metrics import Metric
from flowloom.spec import Spec
from flowloom_molecules.molecules.embedded import embedded
from flowloom_molecules.molecules.perceived import Perception

_BOHR, _HARTREE = 1.8897261246, 627.509474
"""Bohrs an angstrom, and kcal/mol a hartree (CODATA 2018)."""


class ConformerEnergy(Metric):
    r"""Energies of drawn molecules above the lowest of RDKit's own conformers of the same molecules.

    The latter are of ETKDGv3, relaxed by MMFF94. ``low_energy`` is the share of all rows that are molecules
    (see ``validity`` of molecule-quality) no more than ``near`` kcal/mol above it. Where something drawn is a
    molecule that has an energy, ``energy_above`` is the median in kcal/mol, and ``rdkit_energy_above`` that
    of RDKit's first conformers: what is had without choosing. Both speak of valid molecules alone, and are
    told without a verdict.

    Args:
        spec: of the data, with hydrogens; injected from the recipe.
        by: ``mmff`` (MMFF94, of RDKit), or ``xtb`` (GFN2-xTB, Bannwarth et al. 2019, by the package tblite).
        near: kcal/mol.
        conformers: of RDKit, of every molecule.
        rows: most rows that are judged, evenly spread.

    Raises:
        DataError: the data are no molecules in space, or have no hydrogens.
        MissingDependencyError: the package tblite is not installed.
    """

    better: ClassVar = {"low_energy": "higher"}

    def __init__(
        self,
        spec: Spec,
        by: Literal["mmff", "xtb"] = "mmff",
        near: float = 20.0,
        conformers: int = 10,
        rows: int = 200,
    ) -> None:
        if conformers < 2 or rows < 1 or not 0 < near < math.inf:
            raise ValueError(
                "conformers is at least 2, rows at least 1, and near positive and finite, got "
                f"{conformers}, {rows} and {near}"
            )
        self.read = Perception(spec)
        if "H" not in self.read.elements:
            raise DataError(
                "metric conformer-energy needs hydrogens, and the data has none (data.hydrogens: true)"
            )
        self.near, self.conformers, self.rows = near, conformers, rows
        self.energies = _mmff if by == "mmff" else _xtb()

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """All values."""
        self.require_rows(samples, real)
        drawn = [one.whole for one in self.read(samples.take(samples.evenly(self.rows)))]
        above, first = [], []
        for mol in drawn:
            if mol is None:
                continue
            (own, *_), theirs = self.energies(mol), self.energies(embedded(mol, self.conformers))
            least = min((e for e in theirs if math.isfinite(e)), default=math.nan)
            if math.isfinite(own) and math.isfinite(least):
                above.append(own - least)
                first.append(theirs[0] - least)
        values = {"low_energy": sum(e <= self.near for e in above) / len(drawn)}
        if above:
            values |= {
                "energy_above": statistics.median(above),
                "rdkit_energy_above": statistics.median(e for e in first if math.isfinite(e)),
            }
        return values


def _mmff(molecule: Any) -> list[float]:
    """Energies of all conformers in kcal/mol; not a number where MMFF94 has no parameters."""
    from rdkit import rdBase
    from rdkit.Chem import rdForceFieldHelpers

    with rdBase.BlockLogs():
        rules = rdForceFieldHelpers.MMFFGetMoleculeProperties(molecule)
        if rules is None:
            return [math.nan] * max(1, molecule.GetNumConformers())
        ids = [shape.GetId() for shape in molecule.GetConformers()]
        force = rdForceFieldHelpers.MMFFGetMoleculeForceField
        return [force(molecule, rules, confId=i).CalcEnergy() for i in ids]


def _xtb() -> Callable[[Any], list[float]]:
    """The same by GFN2-xTB; not a number where it does not converge.

    Raises:
        MissingDependencyError: tblite is not installed.
    """
    try:
        from tblite.interface import Calculator
    except ImportError as error:
        raise MissingDependencyError(
            "metric conformer-energy needs the package tblite for by: xtb; pip install tblite, or "
            "flowloom-molecules[judges]"
        ) from error
    import numpy as np

    def energies(molecule: Any) -> list[float]:
        numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
        charge = sum(atom.GetFormalCharge() for atom in molecule.GetAtoms())
        found = []
        for shape in molecule.GetConformers():
            try:
                asked = Calculator("GFN2-xTB", numbers, shape.GetPositions() * _BOHR, charge=float(charge))
                asked.set("verbosity", 0)
                found.append(float(asked.singlepoint().get("energy")) * _HARTREE)
            except RuntimeError:
                found.append(math.nan)
        return found

    return energies
