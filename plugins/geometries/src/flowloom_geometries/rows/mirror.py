"""Mirror flow matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_SQUARE = {
    "use": "polytope",
    "normals": [[1, 0], [-1, 0], [0, 1], [0, -1]],
    "offsets": [1, 1, 1, 1],
}


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_geometries.bounded", "flowloom_geometries:recipes", "2510.08929"
    reg.add(
        "codec",
        "mirror",
        f"{home}:MirrorMap",
        summary="a polytope as all of R^n, by the gradient of a barrier",
        example={"domain": _SQUARE},
        paper=paper,
        data="walled-patches",
    )
    reg.add(
        "metric",
        "mirror-tail",
        f"{home}:MirrorTail",
        summary="error of a far quantile in the coordinates of a mirror map",
        example={"domain": _SQUARE},
        paper=paper,
        data="walled-patches",
    )
    for name, summary in (
        ("mirror", "mirror flow matching on patches against the walls of a square"),
        ("mirror-log", "the same through the log barrier, which has no finite moments"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
