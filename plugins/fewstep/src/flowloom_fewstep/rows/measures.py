"""What distilled flows are compared by: ends from the same noise, and operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    failing = {"check_truth_is_better": "it judges where the flow leads, and no examples"}
    reg.add(
        "score",
        "endpoint",
        "flowloom_fewstep.endpoint:EndpointDistance",
        summary="distance of samples from where a reference leads from the same noise",
        example={"reference": {"use": "euler", "steps": 4}, "n": 50},
        known_failures=failing,
    )
    reg.add(
        "score",
        "sampling-operations",
        "flowloom_fewstep.operations:SamplingOperations",
        summary="multiplications and additions that a sample takes",
        example={"n": 4},
        known_failures=failing,
    )
