"""RDKit's own conformers of a molecule, which drawn ones are held against."""

from __future__ import annotations

from typing import Any


def embedded(molecule: Any, count: int, seed: int = 0) -> Any:
    """The same molecule with conformers of ETKDGv3 relaxed by MMFF94, none where none is found.

    Args:
        molecule: sanitised, with all hydrogens; its own conformer is not looked at.
        count: of conformers.
        seed: of the embedding.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    full = Chem.Mol(molecule)
    rules: Any = rdDistGeom.ETKDGv3()
    rules.randomSeed, rules.timeout, rules.clearConfs = seed, 30, True
    with rdBase.BlockLogs():
        rdDistGeom.EmbedMultipleConfs(full, count, rules)
        if full.GetNumConformers() and rdForceFieldHelpers.MMFFHasAllMoleculeParams(full):
            rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(full, maxIters=500)
    return full
