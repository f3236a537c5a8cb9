"""How many predicted crystals are the true one, and how nearly."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from flowloom.data import Dataset, Examples
from flowloom.metrics import Metric
from flowloom_molecules.crystals.structures import pymatgen, structures

Known: TypeAlias = "dict[int, tuple[list[Any], Any]]"
"""Training structures by their number of atoms, with their Mendeleev numbers, sorted."""


class StructureMatch(Metric):
    """Share of structures that match the truth of their own row, and the mean root mean square of those.

    pymatgen's ``StructureMatcher`` as in Xie et al. (2110.06197) and FlowMM (2406.04713); displacements are
    in units of ``(volume / atoms)^(1/3)``. On small cells the rate is a weak judge (a training structure
    with other elements in its place matches about as often as published models), so both are shown beside
    two baselines, given the composition that is asked for:

    * ``random_match_rate``, ``random_rms``: any training structure of as many atoms;
    * ``nearest_match_rate``, ``nearest_rms``: that of the most similar elements (Mendeleev numbers, by the
      cheapest assignment), each atom where its counterpart stands.

    Args:
        length_tolerance: of pymatgen, relative.
        site_tolerance: of pymatgen, in the units above.
        angle_tolerance: of pymatgen, in degrees.
        baselines: judge the two baselines too.
        seed: of the random training structures, 0 or more.

    Raises:
        ValueError: a tolerance is not above 0 and finite, or the seed is negative.
    """

    paired = True
    better: ClassVar[dict[str, Literal["lower", "higher"]]] = {
        "match_rate": "higher",
        "match_rms": "lower",
        "random_match_rate": "higher",
        "random_rms": "lower",
        "nearest_match_rate": "higher",
        "nearest_rms": "lower",
    }

    def __init__(
        self,
        length_tolerance: float = 0.3,
        site_tolerance: float = 0.5,
        angle_tolerance: float = 10.0,
        baselines: bool = True,
        seed: int = 0,
    ) -> None:
        tolerances = length_tolerance, site_tolerance, angle_tolerance
        if not all(0 < tolerance < math.inf for tolerance in tolerances):
            raise ValueError(
                "length_tolerance, site_tolerance and angle_tolerance are finite and above 0, got "
                f"{length_tolerance}, {site_tolerance} and {angle_tolerance}"
            )
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        self.length_tolerance, self.site_tolerance = length_tolerance, site_tolerance
        self.angle_tolerance, self.baselines, self.seed = angle_tolerance, baselines, seed
        self._train: Known = {}

    def fit(self, train: Dataset) -> None:
        """Keep the training structures, for the baselines."""
        pymatgen()
        if self.baselines:
            known = [s for s in structures(train.all()) if s is not None]
            for size in sorted({len(s) for s in known}):
                same = [s for s in known if len(s) == size]
                self._train[size] = same, np.stack([np.sort(_numbers(s)) for s in same])

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Rates and root mean squares; the latter are the tolerance of sites where nothing matches."""
        self.require_rows(samples, real)
        truth, guesses = structures(real), structures(samples)
        # Several draws of a row are as many pairs.
        pairs = self.matched(guesses, truth * (len(guesses) // len(truth)))
        values = dict(zip(("match_rate", "match_rms"), pairs, strict=True))
        if self._train:
            draws = np.random.default_rng(self.seed)
            chance = [_dressed(_any(self._train, one, draws), one) for one in truth]
            values["random_match_rate"], values["random_rms"] = self.matched(chance, truth)
            near = [_dressed(_nearest(self._train, one), one) for one in truth]
            values["nearest_match_rate"], values["nearest_rms"] = self.matched(near, truth)
        return values

    def matched(self, guesses: list[Any], truth: list[Any]) -> tuple[float, float]:
        """Share of pairs that match, and the mean of their root mean squares."""
        from pymatgen.analysis.structure_matcher import StructureMatcher

        matcher: Any = StructureMatcher(self.length_tolerance, self.site_tolerance, self.angle_tolerance)
        found = []
        for guess, one in zip(guesses, truth, strict=True):
            pair = None if guess is None or one is None else matcher.get_rms_dist(guess, one)
            if pair is not None:
                found.append(float(pair[0]))
        return len(found) / max(1, len(truth)), float(np.mean(found)) if found else self.site_tolerance


def _numbers(structure: Any) -> np.ndarray:
    return np.array([site.specie.mendeleev_no for site in structure], dtype=float)


def _any(train: Known, one: Any, draws: np.random.Generator) -> Any:
    same, _ = train.get(_size(one), ([], None))
    return same[int(draws.integers(len(same)))] if same else None


def _nearest(train: Known, one: Any) -> Any:
    """The training structure whose Mendeleev numbers, sorted, differ least."""
    same, numbers = train.get(_size(one), ([], None))
    if not same:
        return None
    return same[int(np.abs(numbers - np.sort(_numbers(one))).sum(1).argmin())]


def _size(structure: Any) -> int:
    return 0 if structure is None else len(structure)


def _dressed(structure: Any, one: Any) -> Any:
    """``structure`` with the elements of ``one``, each on the site of its nearest counterpart."""
    from scipy.optimize import linear_sum_assignment

    if structure is None or one is None:
        return None
    cost = np.abs(_numbers(structure)[:, None] - _numbers(one)[None])
    _, chosen = linear_sum_assignment(cost)
    species = [one[int(j)].specie for j in chosen]
    core = pymatgen()
    return core.Structure(structure.lattice, species, structure.frac_coords)


def minimum_distance(structure: Any) -> float:
    """The shortest distance between two atoms of a structure, images included, in angstrom."""
    if len(structure) == 1:
        return float(min(structure.lattice.abc))
    apart = np.array(structure.distance_matrix)
    np.fill_diagonal(apart, math.inf)
    return float(min(apart.min(), min(structure.lattice.abc)))
