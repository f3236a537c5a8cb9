"""PoseBusters: whether molecules in space look as molecules do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar

from flowloom.data import Examples
from flowloom.errors import MissingDependencyError
from flowloom.metrics import Metric
from flowloom.spec import Spec
from flowloom_molecules.molecules.embedded import embedded
from flowloom_molecules.molecules.perceived import Perception


class PoseBusted(Metric):
    """Share of rows that pass every test of PoseBusters (Buttenschoen et al. 2308.05777) for lone molecules.

    Lengths, angles, clashes, flatness of rings and double bonds, and an energy within those of many
    conformers. A row that is no molecule (see ``validity`` of molecule-quality) passes none.

    * ``posebusters`` is of all rows;
    * ``posebusters_rdkit`` of RDKit's own conformers of the molecules that were drawn: what a drawn shape can
      reach;
    * ``passes_...`` of these molecules as drawn, test by test.

    The last two are told only where something drawn is a molecule.

    Args:
        spec: of the data; injected from the recipe.
        rows: most rows that are judged, evenly spread: a molecule takes about a second.

    Raises:
        DataError: the data are no molecules in space.
        MissingDependencyError: the package posebusters is not installed.
    """

    better: ClassVar = {"posebusters": "higher"}

    def __init__(self, spec: Spec, rows: int = 100) -> None:
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        self.read, self.rows = Perception(spec), rows
        _library()  # told before anything is trained

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """All values."""
        self.require_rows(samples, real)
        drawn = [one.whole for one in self.read(samples.take(samples.evenly(self.rows)))]
        whole = [mol for mol in drawn if mol is not None]
        if not whole:
            return {"posebusters": 0.0}
        tests = _passed(whole)
        fine = [all(row) for row in zip(*tests.values(), strict=True)]
        made = [own for mol in whole if (own := embedded(mol, 1)).GetNumConformers()]
        theirs = [all(row) for row in zip(*_passed(made).values(), strict=True)] if made else []
        return {
            "posebusters": sum(fine) / len(drawn),
            "posebusters_rdkit": sum(theirs) / len(whole),
            **{f"passes_{name}": sum(values) / len(whole) for name, values in tests.items()},
        }


def _passed(molecules: Sequence[Any]) -> dict[str, list[bool]]:
    """The answers of every test, a molecule after the other; one that cannot be asked counts as failed."""
    from rdkit import rdBase

    found: dict[str, list[bool]] = defaultdict(list)
    with rdBase.BlockLogs():
        table = _library()(config="mol").bust(list(molecules), None, None)
    for name in table.columns:
        found[str(name)] = [value is True or str(value) == "True" for value in table[name]]
    return found


def _library() -> Any:
    """The class."""
    try:
        from posebusters import PoseBusters
    except ImportError as error:
        raise MissingDependencyError(
            "metric posebusters needs the package posebusters; pip install posebusters, or "
            "flowloom-molecules[judges]"
        ) from error
    return PoseBusters
