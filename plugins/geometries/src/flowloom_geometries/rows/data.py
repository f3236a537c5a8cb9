"""Data on manifolds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_geometries.data"
    reg.add(
        "dataset",
        "earth",
        f"{home}:Earth",
        summary="volcanoes, earthquakes, floods and fires on the globe",
        example={"event": "volcano"},
        tags=("files",),
        paper="2006.10605",
    )
    reg.add(
        "dataset",
        "von-mises-fisher",
        f"{home}:VonMisesFisherMixture",
        summary="clusters on the sphere, of known density",
        example={"n": 256},
    )
    reg.add(
        "dataset",
        "wrapped-normals",
        f"{home}:WrappedNormalMixture",
        summary="clusters on the torus across its seam, of known density",
        example={"n": 256},
    )
    reg.add(
        "dataset",
        "uniform-box",
        f"{home}:Box",
        summary="uniform points of a box",
        example={"low": [0, 0], "high": [1, 2], "n": 256},
    )
    reg.add(
        "dataset",
        "mesh-function",
        f"{home}:MeshEigenfunction",
        summary="points of a mesh where an eigenfunction is large",
        example={"geometry": {"use": "mesh", "file": "icosphere-1", "count": 20}, "n": 64, "index": 5},
        paper="2302.03660",
    )
