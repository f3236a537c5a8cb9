"""Atoms that lie on each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

CLOSEST = 0.5
"""Atoms that come closer than this (angstrom) overlap."""


def overlapping(points: NDArray[np.float64]) -> bool:
    """Whether two of the atoms ``(n, 3)``, in angstrom, overlap."""
    return len(points) > 1 and bool(pdist(points).min() < CLOSEST)
