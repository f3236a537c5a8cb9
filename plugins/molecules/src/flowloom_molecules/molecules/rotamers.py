"""One molecule by its torsions: the law of independent bonds, and what a force field says of it."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.energies import Energy
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom.state import Cond, State

__all__ = ["ForceField", "Rotamers"]

Field = Literal["mmff", "uff"]
_KT = 0.0019872  # kcal / mol / K


class Rotamers(Drawn):
    r"""Torsions ``(bonds,)`` in :math:`[0, 2\pi)` of a chain whose bonds do not know of each other.

    Every bond is trans (180 degrees) or gauche (60 or 300), with a normal deviation: the rotational isomeric
    states of an alkane without the terms between neighbours (Flory 1969). What it lacks is what a force field
    knows: two gauche bonds of opposite sense side by side clash.

    Args:
        n: examples in every split.
        seed: of the draws.
        bonds: of the chain; hexane has 3.
        trans: probability of a trans bond; the two gauche ones share the rest.
        std: of the angles about their state, in radians.
    """

    def __init__(
        self, n: int = 5000, seed: int = 0, bonds: int = 3, trans: float = 0.5, std: float = 0.15
    ) -> None:
        super().__init__(n, seed)
        if bonds < 1 or not 0 <= trans <= 1 or not 0 < std < math.inf:
            raise DataError(
                "rotamers have bonds from 1, trans in [0, 1] and std over 0 and finite, got "
                f"{bonds}, {trans}, {std}"
            )
        self.bonds, self.trans, self.std = bonds, trans, std

    @property
    def spec(self) -> Spec:
        """Angles."""
        return Spec((self.bonds,))

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Angles of independent bonds."""
        gauche = (1 - self.trans) / 2
        weights = torch.tensor([self.trans, gauche, gauche])
        state = torch.multinomial(weights, n * self.bonds, True, generator=generator)
        centre = torch.tensor([3.0, 1.0, 5.0])[state].reshape(n, self.bonds) * (torch.pi / 3)
        noise = torch.randn(centre.shape, generator=generator)
        return Examples((centre + self.std * noise).remainder(2 * torch.pi))


class ForceField(Energy):
    r"""RDKit's MMFF94 or UFF energy of a molecule over kT, as a function of its torsions.

    Bond lengths and angles are those of one relaxed conformer, whose energy is 0. The gradient is the torque
    about each bond, :math:`\sum_a \nabla_a E \cdot (u \times r_a)` over the atoms behind it.

    Args:
        smiles: of the molecule.
        kind: ``mmff`` or ``uff``.
        temperature: in kelvin.
        cap: c, so that :math:`c\,(1 - e^{-E/c})` stands in place of E: atoms that overlap cost 10^5 nats and
            more, and a mean of such numbers tells of the worst row alone. None for E itself.

    Raises:
        DataError: RDKit cannot read or embed it, or no bond turns, or the force field lacks its atoms.
    """

    def __init__(
        self,
        smiles: str = "CCCCCC",
        kind: Field = "mmff",
        temperature: float = 300.0,
        cap: float | None = None,
    ) -> None:
        if not all(0 < value < math.inf for value in (temperature, 1.0 if cap is None else cap)):
            raise DataError(f"temperature and cap are positive and finite, got {temperature} and {cap}")
        self.smiles, self.kind, self.temperature, self.cap = smiles, kind, temperature, cap
        self._made: _Molecule | None = None
        self.spec = Spec((len(self.molecule.chains),))

    @property
    def molecule(self) -> _Molecule:
        """The molecule, made where it is first asked for."""
        if self._made is None:
            self._made = _Molecule(self.smiles, self.kind)
        return self._made

    def __getstate__(self) -> dict[str, Any]:
        # RDKit's objects are made anew in a copy.
        return {**self.__dict__, "_made": None}

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """Energies of every row, in nats."""
        assert isinstance(x, Tensor)
        found: Tensor = _Asked.apply(x, self.molecule)  # type: ignore[no-untyped-call]
        found = found / (_KT * self.temperature)
        return found if self.cap is None else -self.cap * torch.expm1(-found / self.cap)


class _Molecule:
    """What RDKit keeps of it."""

    def __init__(self, smiles: str, kind: Field) -> None:
        from rdkit import Chem
        from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

        from flowloom_molecules.data.conform import chains_of

        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            raise DataError(f"force-field: RDKit cannot read '{smiles}'")
        self.chains, self.mol = chains_of(mol), Chem.AddHs(mol)
        if not self.chains:
            raise DataError(f"force-field: '{smiles}' has no rotatable bond")
        if rdDistGeom.EmbedMolecule(self.mol, randomSeed=0):
            raise DataError(f"force-field: RDKit finds no conformer of '{smiles}'")
        has = getattr(rdForceFieldHelpers, f"{kind.upper()}HasAllMoleculeParams")
        if not has(self.mol):
            raise DataError(f"force-field: {kind} lacks parameters for atoms of '{smiles}'")
        getattr(rdForceFieldHelpers, f"{kind.upper()}OptimizeMolecule")(self.mol, maxIters=5000)
        if kind == "mmff":
            told = rdForceFieldHelpers.MMFFGetMoleculeProperties(self.mol)
            self.field = rdForceFieldHelpers.MMFFGetMoleculeForceField(self.mol, told)
        else:
            self.field = rdForceFieldHelpers.UFFGetMoleculeForceField(self.mol)
        self.field.Initialize()
        self.lowest = self.field.CalcEnergy()
        self.behind = [self._behind(j, k) for _, j, k, _ in self.chains]

    def _behind(self, j: int, k: int) -> list[int]:
        """Atoms that turn with k about the bond from j."""
        found, todo = {k}, [k]
        while todo:
            for atom in self.mol.GetAtomWithIdx(todo.pop()).GetNeighbors():
                if atom.GetIdx() not in found and atom.GetIdx() != j:
                    found.add(atom.GetIdx())
                    todo.append(atom.GetIdx())
        return sorted(found)

    def placed(self, angles: list[float]) -> Tensor:
        """Positions ``(atoms, 3)`` in angstroms with those torsions."""
        from rdkit import Chem
        from rdkit.Chem import rdMolTransforms

        conformer = Chem.Mol(self.mol).GetConformer()
        for chain, angle in zip(self.chains, angles, strict=True):
            rdMolTransforms.SetDihedralRad(conformer, *chain, angle)
        return torch.as_tensor(conformer.GetPositions())


class _Asked(torch.autograd.Function):
    """Energies in kcal/mol, with torques as their gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, molecule: _Molecule) -> Tensor:
        """Row by row."""
        energies, torques = [], []
        for row in x.detach().double().cpu().tolist():
            places = molecule.placed(row)
            flat = places.flatten().tolist()
            energies.append(molecule.field.CalcEnergy(flat) - molecule.lowest)
            if x.requires_grad:
                slope = torch.tensor(molecule.field.CalcGrad(flat), dtype=torch.float64).reshape(-1, 3)
                torques.append(_torques(molecule, places, slope))
        if torques:
            ctx.save_for_backward(torch.stack(torques).to(x))
        return torch.tensor(energies, dtype=torch.float64).to(x)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        """Torques times what comes from behind."""
        (torques,) = ctx.saved_tensors
        return grad[0][:, None] * torques, None


def _torques(molecule: _Molecule, places: Tensor, slope: Tensor) -> Tensor:
    found = []
    for (_, j, k, _), behind in zip(molecule.chains, molecule.behind, strict=True):
        axis = torch.nn.functional.normalize(places[k] - places[j], dim=0)
        turn = torch.linalg.cross(axis.expand(len(behind), 3), places[behind] - places[k])
        found.append((turn * slope[behind]).sum())
    return torch.stack(found)
