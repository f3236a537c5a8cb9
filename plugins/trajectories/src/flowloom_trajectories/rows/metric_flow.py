"""Metric flow matching: snapshots of populations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_trajectories.metric_flow", "flowloom_trajectories:recipes", "2405.14780"
    for name, target, summary in (
        ("arch", "Arch", "points along half a circle, seen at its ends"),
        ("sphere-cap", "SphereCap", "points over the top of a sphere, seen at both sides"),
        ("branching-snapshots", "BranchingSnapshots", "cells that branch, other ones in every snapshot"),
    ):
        reg.add("dataset", name, f"{home}:{target}", summary=summary, example={"n": 200}, paper=paper)
    reg.add(
        "dataset",
        "snapshots",
        f"{home}:Snapshots",
        summary="cells at several times from a file, one snapshot held out",
        example={"file": "cells.csv"},
        tags=("files",),
    )
    for name, target, summary in (
        ("land-geodesics", "LandGeodesics", "ways of least energy under a metric of nearby examples"),
        ("rbf-geodesics", "RbfGeodesics", "ways of least energy under a metric of fitted bumps"),
    ):
        reg.add("objective", name, f"{home}:{target}", summary=summary, paper=paper, within="arch-geodesics")
    reg.add(
        "path",
        "metric-interpolant",
        f"{home}:MetricInterpolant",
        summary="ways that an earlier stage bent towards the data",
        paper=paper,
        example={},
    )
    reg.add(
        "objective",
        "between-snapshots",
        f"{home}:BetweenSnapshots",
        summary="one field of all of time, from snapshots of a population",
        paper=paper,
        example={},
    )
    reg.add(
        "metric",
        "wasserstein-1",
        "flowloom_trajectories.metrics.transport:Wasserstein1",
        summary="earth mover's distance between two sets, exact",
        example={"most": 200},
    )
    reg.add(
        "metric",
        "mmd",
        "flowloom_trajectories.metrics.discrepancy:MMD",
        summary="maximum mean discrepancy of two sets, with Gaussian kernels of several widths",
        example={"most": 200},
        tags=("scale-free",),
    )
    reg.add(
        "baseline",
        "displacement-interpolation",
        "flowloom_trajectories.baselines:DisplacementInterpolation",
        summary="straight lines between optimal pairs of two snapshots",
        example={"most": 50},
        data="arch",
    )
    for name, summary in (
        ("cell-snapshots", "cells between snapshots, at a time when none were seen"),
        ("arch-geodesics", "ways along an arch that two snapshots show"),
        ("metric-flow-matching", "a flow along an arch, its middle never seen"),
        ("metric-flow-straight", "the same flow along straight ways between optimal pairs"),
        ("metric-flow-sphere", "a flow over the top of a sphere"),
        ("metric-flow-branching", "cells that branch, at a time that is held out"),
        ("metric-flow-cells", "cells of a file of principal components, at the paper's size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
