"""How far the lattices of drawn crystals are from real ones, whether or not they are cells."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom_molecules.data.cells import are_cells


class LatticeDistance(Metric):
    """Energy distances of cell lengths (angstrom) and of angles (degrees) from real ones.

    They look at lattices alone and make no structure, so that a row whose lengths are no cell's (a flow from
    Gaussian noise may end below 0) counts by how far off it is.

    * ``lengths_distance``, ``angles_distance``: energy distances ``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` of
      the three numbers together, over all pairs of rows, a row and itself included. Predictions stand beside
      the truth of their own composition, where means over different rows would come out below 0;
    * ``cells``: share of rows with positive lengths, and angles between 0 and 180 degrees that make a cell
      with a volume (of 60, 60 and 150 degrees there is none).
    """

    better: ClassVar[dict[str, Literal["lower", "higher"]]] = {
        "lengths_distance": "lower",
        "angles_distance": "lower",
        "cells": "higher",
    }
    about: ClassVar[dict[str, str]] = {
        "lengths_distance": "Energy distance of cell lengths from real ones, in angstrom.",
        "angles_distance": "Energy distance of cell angles from real ones, in degrees.",
        "cells": "Share of lattices with positive lengths and angles that make a cell with a volume.",
    }

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare lattices.

        Raises:
            IncompatibleError: states have no lengths and angles.
        """
        self.require_rows(samples, real)
        (lengths, angles), (true_lengths, true_angles) = _lattices(samples), _lattices(real)
        return {
            "lengths_distance": _apart(lengths, true_lengths),
            "angles_distance": _apart(angles, true_angles),
            "cells": float(are_cells(lengths, angles).double().mean()),
        }


def _apart(x: Tensor, y: Tensor) -> float:
    between, ours, theirs = (_mean_distance(a, b) for a, b in ((x, y), (x, x), (y, y)))
    value = 2 * between - ours - theirs
    # Rounding alone goes below 0; what is no number stays none.
    return 0.0 if value < 0 else value


def _mean_distance(a: Tensor, b: Tensor) -> float:
    # Distances by products would lose the digits of a distance of 0.
    return float(torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").mean())


def _lattices(examples: Examples) -> tuple[Tensor, Tensor]:
    x: Any = examples.x
    if not isinstance(x, dict) or not {"lengths", "angles"} <= set(x):
        raise IncompatibleError("metric lattice-distance is of cells with the parts lengths and angles")
    return x["lengths"].cpu().double(), x["angles"].cpu().double()
