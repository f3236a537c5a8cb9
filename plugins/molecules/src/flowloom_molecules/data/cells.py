"""What an example of a crystal is, whichever data set it comes from, and which lattices are cells."""

from __future__ import annotations

from torch import Tensor

from flowloom.spec import Condition, Spec
from flowloom_molecules.elements import SYMBOLS

_FLAT = 1e-8
"""The square of the volume of a cell with edges of length 1 that is taken for flat."""


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


def are_cells(lengths: Tensor, angles: Tensor) -> Tensor:
    r"""Which lattices are cells: finite lengths above 0, angles between 0 and 180 degrees, and a volume.

    .. math:: V^2 / (a b c)^2
        = 1 - \cos^2\alpha - \cos^2\beta - \cos^2\gamma + 2 \cos\alpha \cos\beta \cos\gamma > 0

    Cosines alone do not tell: they are the same of an angle, of its negative, and a full turn on.

    Args:
        lengths: ``(..., 3)``, angstrom.
        angles: ``(..., 3)``, degrees: between b and c, a and c, a and b.

    Returns:
        Booleans ``(...,)``.
    """
    long = lengths.isfinite() & (lengths > 0)
    open_ = (angles > 0) & (angles < 180)
    cosine = angles.double().deg2rad().cos()
    square = 1 - cosine.square().sum(-1) + 2 * cosine.prod(-1)
    return (long & open_).all(-1) & (square > _FLAT)
