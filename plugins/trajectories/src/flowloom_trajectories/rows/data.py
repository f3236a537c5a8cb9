"""Pedestrians, plans, series and generated motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "dataset",
        "pedestrians",
        "flowloom_trajectories.data:Pedestrians",
        summary="walking people of ETH and UCY, 8 steps seen and 12 to come, one scene held out",
        tags=("files", "forecast"),
        known_failures={"check_splits_are_disjoint": "people who stand all have the same future: 0"},
    )
    reg.add(
        "dataset",
        "walks",
        "flowloom_trajectories.data:Walks",
        summary="walks in files of frame, id, x, y, with past and neighbours",
        example={"files": ["walks.txt"]},
        tags=("files", "forecast"),
    )
    reg.add(
        "dataset",
        "crowd",
        "flowloom_trajectories.data:Crowd",
        summary="people who cross a circle and keep out of each other's way",
        example={"n": 128},
    )
    reg.add(
        "dataset",
        "series",
        "flowloom_trajectories.data:Series",
        summary="windows of a time series in a CSV, missing values included",
        example={"length": 24},
        tags=("files", "forecast"),
    )
    reg.add(
        "dataset",
        "crossroads",
        "flowloom_trajectories.data:Crossroads",
        summary="agents at a junction: one past, three futures of known shares",
        example={"n": 256},
    )
    reg.add(
        "dataset",
        "maze-plans",
        "flowloom_trajectories.data:MazePlans",
        summary="shortest ways through a maze, both ends given",
        example={"n": 64, "horizon": 16},
    )
    reg.add(
        "dataset",
        "gp-draws",
        "flowloom_trajectories.data:GaussianProcess",
        summary="draws of a Gaussian process at even places",
        example={"n": 256, "length": 16},
    )
    reg.add(
        "dataset",
        "waves",
        "flowloom_trajectories.data:Periodic",
        summary="noisy waves of random period, phase and size",
        example={"n": 256, "length": 16},
    )
    reg.add(
        "dataset",
        "branching",
        "flowloom_trajectories.data:Branching",
        summary="cells that become one of two kinds, with their whole way",
        example={"n": 256},
    )
