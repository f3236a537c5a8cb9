"""Whether drawn molecules are molecules, new ones, and shaped like those of the data."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy.stats import wasserstein_distance

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.spec import Spec
from flowloom_molecules.bonded.reading import Bonded
from flowloom_molecules.molecules.perceived import Perceived, Perception, Reader


class MoleculeQuality(Metric):
    r"""What RDKit makes of the positions, elements and charges, or of the atoms and bonds of graphs.

    * ``validity``: share of rows that are one sanitised molecule (in space, bonds are perceived from
      distances, orders from valences and total charge; in graphs both are drawn, and nothing is mended);
    * ``connectivity``: share of rows whose atoms hang together;
    * ``uniqueness``: distinct molecules among the valid ones; ``novelty``: share of those that the
      training data does not have (0 for the training data, so it is told without a verdict);
    * ``atom_stability``: share of atoms with as many neighbours as some atom of their element has in
      training; ``molecule_stability``: rows of which all atoms are so, and that hang together;
    * ``bond_lengths`` (angstrom), ``bond_angles``, ``torsions`` (degrees): Wasserstein distances from those
      of real molecules, each kind of bond, angle or torsion by the elements in it, weighted by how common it
      is in the real ones. Kinds that occur fewer than ``rare`` times there are left out; kinds that samples
      lack cost the spread of the real ones. Graphs have none of the three.

    Args:
        spec: of the data; injected from the recipe.
        rare: fewest occurrences among the real ones with which a kind is judged.
        most: training rows that are read, evenly over all of them; all where None.

    Raises:
        ValueError: ``rare`` is less than 1.
        IncompatibleError: ``most`` is, or the data are no molecules.
    """

    better: ClassVar[dict[str, Literal["lower", "higher"]]] = {
        "validity": "higher",
        "connectivity": "higher",
        "uniqueness": "higher",
        "atom_stability": "higher",
        "molecule_stability": "higher",
        "bond_lengths": "lower",
        "bond_angles": "lower",
        "torsions": "lower",
    }

    def __init__(self, spec: Spec, rare: int = 20, most: int | None = None) -> None:
        if most is not None and most < 1:
            raise IncompatibleError(f"molecule-quality reads 1 training row or more, got most {most}")
        if rare < 1:
            raise ValueError(f"rare must be at least 1, got {rare}")
        self.read: Reader = Bonded(spec) if "bonds" in spec.parts else Perception(spec)
        self.rare, self.most = rare, most
        self._known: set[str] = set()
        self._neighbours: dict[str, set[int]] = {}

    def fit(self, train: Dataset) -> None:
        """Read the training molecules: which they are, and how many neighbours their atoms have."""
        counts: dict[str, Counter[int]] = defaultdict(Counter)
        few = self.most is not None and self.most < len(train)
        rows = torch.linspace(0, len(train) - 1, self.most or 1).long() if few else None
        for one in self.read(train.all() if rows is None else train.take(rows)):
            self._known.add(one.smiles)
            for atom in one.connected.GetAtoms():
                counts[atom.GetSymbol()][atom.GetDegree()] += 1
        # One odd conformer in a hundred is no rule.
        self._neighbours = {
            symbol: {n for n, times in seen.items() if times >= 0.01 * seen.total()}
            for symbol, seen in counts.items()
        }

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """All values; shares of nothing are 0."""
        self.require_rows(samples, real)
        drawn, truth = self.read(samples), self.read(real)
        names = [one.smiles for one in drawn if one.whole is not None]
        distinct = set(names)
        stable = [[self._stable(atom) for atom in one.connected.GetAtoms()] for one in drawn]
        atoms = [fine for row in stable for fine in row]
        whole = [all(row) and one.fragments == 1 for row, one in zip(stable, drawn, strict=True)]
        return {
            "validity": len(names) / max(1, len(drawn)),
            "connectivity": _share([one.fragments == 1 for one in drawn]),
            "uniqueness": len(distinct) / max(1, len(names)),
            "novelty": len(distinct - self._known) / max(1, len(distinct)),
            "atom_stability": _share(atoms),
            "molecule_stability": _share(whole),
            **self._shapes(drawn, truth),
        }

    def _stable(self, atom: Any) -> bool:
        return atom.GetDegree() in self._neighbours.get(atom.GetSymbol(), ())

    def _shapes(self, drawn: list[Perceived], truth: list[Perceived]) -> dict[str, float]:
        if isinstance(self.read, Bonded):
            return {}
        ours, theirs = _geometry(drawn), _geometry(truth)
        return {name: _apart(ours[name], theirs[name], self.rare) for name in theirs}


def _share(values: list[bool]) -> float:
    return sum(values) / max(1, len(values))


def _geometry(molecules: list[Perceived]) -> dict[str, dict[tuple[str, ...], list[float]]]:
    """Lengths, angles and absolute torsions of all bonds, by the elements along them."""
    symbols: list[str] = []
    places: list[np.ndarray] = [np.zeros((0, 3))]
    bonds, angles, torsions = list[tuple[int, ...]](), list[tuple[int, ...]](), list[tuple[int, ...]]()
    for one in molecules:
        start = len(symbols)
        atoms = one.connected.GetAtoms()
        places.append(one.connected.GetConformer().GetPositions())
        near = [[start + b.GetIdx() for b in atom.GetNeighbors()] for atom in atoms]
        symbols += [atom.GetSymbol() for atom in atoms]
        for bond in one.connected.GetBonds():
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            chain = start + i, start + j
            bonds.append(chain)
            torsions += [(a, *chain, b) for a in near[i] for b in near[j] if len({a, *chain, b}) == 4]
        for middle, around in enumerate(near, start):
            angles += [(a, middle, b) for n, a in enumerate(around) for b in around[:n]]
    place = np.concatenate(places)
    return {
        "bond_lengths": _by_kind(bonds, symbols, _lengths(place[_rows(bonds, 2)])),
        "bond_angles": _by_kind(angles, symbols, _angles(place[_rows(angles, 3)])),
        "torsions": _by_kind(torsions, symbols, _torsions(place[_rows(torsions, 4)])),
    }


def _rows(chains: list[tuple[int, ...]], size: int) -> np.ndarray:
    return np.array(chains, dtype=np.int64).reshape(-1, size)


def _by_kind(
    chains: list[tuple[int, ...]], symbols: list[str], values: np.ndarray
) -> dict[tuple[str, ...], list[float]]:
    found: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for chain, value in zip(chains, values.tolist(), strict=True):
        key = tuple(symbols[i] for i in chain)
        found[min(key, key[::-1])].append(value)
    return found


def _lengths(chains: np.ndarray) -> np.ndarray:
    return np.linalg.norm(chains[:, 1] - chains[:, 0], axis=-1)


def _angles(chains: np.ndarray) -> np.ndarray:
    return _between(chains[:, 0] - chains[:, 1], chains[:, 2] - chains[:, 1])


def _torsions(chains: np.ndarray) -> np.ndarray:
    """Absolute dihedral angles in degrees: mirror images count alike."""
    first, axis, last = np.moveaxis(np.diff(chains, axis=1), 1, 0)
    return _between(np.cross(first, axis), np.cross(axis, last))


def _between(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), (u * v).sum(-1)))


def _apart(
    ours: dict[tuple[str, ...], list[float]], theirs: dict[tuple[str, ...], list[float]], rare: int
) -> float:
    common = {kind: values for kind, values in theirs.items() if len(values) >= rare}
    total = max(1, sum(map(len, common.values())))
    return sum(
        len(values)
        / total
        * (wasserstein_distance(ours[kind], values) if ours.get(kind) else max(float(np.ptp(values)), 0.1))
        for kind, values in common.items()
    )
