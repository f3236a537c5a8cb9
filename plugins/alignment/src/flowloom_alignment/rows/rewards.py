"""Rewards, and what became of them and of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_alignment"
    reg.add(
        "energy",
        "distance-to",
        f"{home}.energies:DistanceTo",
        summary="the distance to a point",
        example={"point": [1.0, 0.0]},
    )
    reg.add(
        "energy",
        "along",
        f"{home}.energies:Along",
        summary="minus the projection on a direction, with an offset for each class if wanted",
        example={"direction": [1.0, 0.0]},
    )
    reg.add(
        "energy",
        "class-probability",
        f"{home}.judged:ClassProbability",
        summary="minus the log probability that a classifier gives to the class that was asked for",
        within="noisy-classifier",
        known_failures={"check_gradient": "its network is in single precision"},
    )
    reg.add(
        "metric",
        "reward",
        f"{home}.reward_metric:Reward",
        summary="minus the energy of samples, and how far that is above the data's",
        example={"energy": {"use": "distance-to", "point": [1.0, 0.0]}},
        data="eight-gaussians",
    )
    reg.add(
        "metric",
        "modes",
        f"{home}.modes:Modes",
        summary="how many classes of a data set samples spread over, and how far they are from their centres",
        data="eight-gaussians",
        known_failures={"check_real_beats_noise": "noise spreads over all modes as well"},
    )
