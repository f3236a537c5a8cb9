"""What an example of a crystal is, whichever data set it comes from."""

from __future__ import annotations

from flowloom.spec import Condition, Spec
from flowloom_molecules.elements import SYMBOLS


def spec_of_cells(atoms: int) -> Spec:
    """Cells of at most ``atoms`` atoms: their fractional coordinates, lengths, angles and elements.

    Lengths are in angstrom and angles in degrees; the condition ``atoms`` says which atoms exist.
    """
    return Spec(
        parts={
            "frac": Spec((atoms, 3), limits=(0.0, 1.0)),
            "lengths": Spec((3,)),
            "angles": Spec((3,)),
            "types": Spec((atoms,), vocab=len(SYMBOLS), tokens=SYMBOLS),
        },
        conditions={"atoms": Condition(shape=(atoms,), role="real", of="frac, types")},
    )
