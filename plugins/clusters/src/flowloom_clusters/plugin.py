"""The rows of the clusters plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add two launchers."""
    reg.add(
        "launcher",
        "slurm",
        "flowloom_clusters.slurm:Slurm",
        summary="an array of Slurm jobs, a cell each",
        example={"options": {"time": "01:00:00"}},
    )
    reg.add(
        "launcher",
        "ray",
        "flowloom_clusters.on_ray:OnRay",
        summary="workers of a Ray cluster; a cell whose worker dies is carried out again",
        example={"tries": 2},
        requires=("ray",),
    )
