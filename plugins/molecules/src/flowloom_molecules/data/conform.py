"""A program that embeds molecules: a SMILES a line in, a molecule of JSON a line out.

It imports RDKit and nothing of flowloom that is heavy, so that several start at once. Run by `conformers`.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any


def embed(smiles: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Atoms and positions of one molecule, or ``{"reason": ...}``.

    Args:
        smiles: with charges, stereo marks, isotopes and ``[nH]`` as RDKit reads them.
        settings: ``hydrogens`` (keep them), ``salts`` (``refuse``, or ``strip`` to the largest fragment),
            ``most_heavy``, ``elements``, ``conformers``, ``optimise``, ``seed``, ``seconds``;
            ``most_bonds`` asks for torsion angles instead of positions.
    """
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers, rdMolTransforms

    mol, reason = tidied(smiles, settings)
    if reason:
        return {"reason": reason}
    key = Chem.MolToSmiles(mol)
    full = Chem.AddHs(mol)
    chains: list[tuple[int, int, int, int]] = []
    if settings.get("most_bonds"):
        chains = chains_of(mol)  # hydrogens come behind the heavy atoms, whose places stay
        if not chains:
            return {"reason": "no rotatable bond"}
        if len(chains) > settings["most_bonds"]:
            return {"reason": f"more than {settings['most_bonds']} rotatable bonds"}
    rules: Any = rdDistGeom.ETKDGv3()
    # RDKit multiplies it by the number of the conformer: 0 would make all of them the same.
    rules.randomSeed = settings["seed"] + 1
    rules.timeout = settings["seconds"]
    ids = list(rdDistGeom.EmbedMultipleConfs(full, settings["conformers"], rules))
    if not ids:
        rules.useRandomCoords = True
        ids = list(rdDistGeom.EmbedMultipleConfs(full, settings["conformers"], rules))
    if not ids:
        return {"reason": "no conformer found"}
    if settings["optimise"] == "mmff" and rdForceFieldHelpers.MMFFHasAllMoleculeParams(full):
        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(full, maxIters=500)
    if chains:
        angles = [
            [rdMolTransforms.GetDihedralRad(full.GetConformer(i), *chain) for chain in chains] for i in ids
        ]
        kinds = [[v for i in chain[1:3] for v in _kind(full.GetAtomWithIdx(i))] for chain in chains]
        return {"key": key, "angles": angles, "kinds": kinds}
    if not settings["hydrogens"]:
        full = Chem.RemoveHs(full)
    return {
        "key": key,
        "numbers": [atom.GetAtomicNum() for atom in full.GetAtoms()],
        "charges": [atom.GetFormalCharge() for atom in full.GetAtoms()],
        "pos": [full.GetConformer(i).GetPositions().tolist() for i in ids],
    }


def tidied(smiles: str, settings: dict[str, Any]) -> tuple[Any, str]:
    """A molecule without hydrogens and isotopes, and why it cannot be used: an empty word where it can.

    Args:
        smiles: see `embed`.
        settings: ``salts``, ``most_heavy`` and ``elements`` of `embed`.
    """
    from rdkit import Chem

    mol = Chem.MolFromSmiles(smiles) if smiles.strip() else None
    if mol is None or mol.GetNumAtoms() == 0:
        return None, "unparsable SMILES"
    if len(Chem.GetMolFrags(mol)) > 1:
        if settings["salts"] == "refuse":
            return None, "several fragments (a salt)"
        mol = max(Chem.GetMolFrags(mol, asMols=True), key=lambda part: part.GetNumHeavyAtoms())
    # The name is of the molecule as it is kept; isotopes and numbers of atoms are no other atoms here.
    for atom in mol.GetAtoms():
        if atom.GetNumRadicalElectrons():
            return None, "a radical"
        atom.SetIsotope(0)
        atom.SetAtomMapNum(0)
    if any(bond.GetBondType() == Chem.BondType.UNSPECIFIED for bond in mol.GetBonds()):
        return None, "a bond of any order"
    mol = Chem.RemoveHs(mol)
    if mol.GetNumHeavyAtoms() > settings["most_heavy"]:
        return None, f"more than {settings['most_heavy']} heavy atoms"
    known = set(settings["elements"])
    if any(atom.GetSymbol() not in known for atom in mol.GetAtoms()):
        return None, "an element that is not asked for"
    return mol, ""


_ROTATABLE = "[!$(*#*)&!D1]-&!@[!$(*#*)&!D1]"
"""Single bonds outside rings between atoms that hold something more (RDKit's rotatable bonds)."""

KINDS = ("C", "N", "O", "S", "other", "sp2", "aromatic", "ring", "crowded")
"""What is told of each atom of a rotatable bond."""


def chains_of(mol: Any) -> list[tuple[int, int, int, int]]:
    """Four atoms along every rotatable bond, in an order that does not depend on how the SMILES runs."""
    from rdkit import Chem

    ranks = list(Chem.CanonicalRankAtoms(mol))

    def end(atom: int, besides: int) -> int:
        near = [n for n in mol.GetAtomWithIdx(atom).GetNeighbors() if n.GetIdx() != besides]
        return max(near, key=lambda n: (n.GetAtomicNum(), ranks[n.GetIdx()])).GetIdx()

    bonds = [
        sorted(pair, key=lambda i: ranks[i])
        for pair in mol.GetSubstructMatches(Chem.MolFromSmarts(_ROTATABLE))
    ]
    return [(end(j, k), j, k, end(k, j)) for j, k in sorted(bonds, key=lambda b: [ranks[i] for i in b])]


def _kind(atom: Any) -> list[float]:
    from rdkit import Chem

    symbol = atom.GetSymbol()
    elements = [float(symbol == s) for s in KINDS[:4]]
    flat = atom.GetHybridization() == Chem.HybridizationType.SP2
    heavy = sum(n.GetAtomicNum() > 1 for n in atom.GetNeighbors())
    told = (flat, atom.GetIsAromatic(), atom.IsInRing(), heavy > 3)
    return [*elements, float(not any(elements)), *map(float, told)]


def main() -> None:
    """Answer every line of standard input, in order."""
    from rdkit import rdBase

    rdBase.DisableLog("rdApp.*")
    # Who asks is told of Ctrl-C too, and ends this program, as does an answer that nobody reads.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    settings = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        try:
            answer = embed(json.loads(line), settings)
        except Exception as error:
            answer = {"reason": f"RDKit failed ({type(error).__name__})"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
