"""Whether crystals could exist: atoms apart, charges in balance."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from scipy.stats import wasserstein_distance

from flowloom.data import Dataset, Examples
from flowloom.errors import MissingDependencyError
from flowloom.metrics import Metric
from flowloom_molecules.crystals.match import minimum_distance
from flowloom_molecules.crystals.structures import structures


class CrystalValidity(Metric):
    """Validity of structures and compositions, and distances from real density and number of elements.

    As in CDVAE (Xie et al. 2110.06197): a structure is valid whose atoms are all more than 0.5 angstrom
    apart in a cell of more than 0.1 cubic angstrom, a composition for which SMACT finds oxidation states
    that add up to 0 (Davies et al. 2019). Both are weak judges: most random placements and compositions pass
    them, so look at the distances too.

    * ``structure_validity``, ``composition_validity``, ``validity``: shares of rows, and of those with both;
    * ``density`` (g/cm^3), ``elements`` (per cell): Wasserstein distances from those of real crystals.
    """

    better: ClassVar[dict[str, Literal["lower", "higher"]]] = {
        "structure_validity": "higher",
        "composition_validity": "higher",
        "validity": "higher",
        "density": "lower",
        "elements": "lower",
    }

    def fit(self, train: Dataset) -> None:
        """Look whether SMACT is there.

        Raises:
            MissingDependencyError: it is not.
        """
        try:
            import smact
        except ImportError as error:
            raise MissingDependencyError(
                "compositions are judged by SMACT; pip install 'flowloom-molecules[crystals]'"
            ) from error
        del smact

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Shares and distances; where no row is a cell, the latter are those from 0."""
        self.require_rows(samples, real)
        drawn, truth = structures(samples), structures(real)
        apart = [s is not None and minimum_distance(s) > 0.5 for s in drawn]
        neutral = [s is not None and _neutral(s) for s in drawn]
        cells = [s for s in drawn if s is not None]
        known = [s for s in truth if s is not None]

        def distance(of: Any) -> float:
            return float(wasserstein_distance([of(s) for s in cells] or [0.0], [of(s) for s in known]))

        n = max(1, len(drawn))
        return {
            "structure_validity": sum(apart) / n,
            "composition_validity": sum(neutral) / n,
            "validity": sum(a and b for a, b in zip(apart, neutral, strict=True)) / n,
            "density": distance(lambda s: float(s.density)),
            "elements": distance(lambda s: float(len(s.composition.elements))),
        }


def _neutral(structure: Any) -> bool:
    from smact.screening import smact_validity

    return bool(smact_validity(structure.composition.reduced_formula))
