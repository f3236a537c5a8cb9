"""Gaps and clipping of sound, and the classical rule that a flow has to beat there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "view",
        "gaps",
        "flowloom_inverse.gaps:Gaps",
        summary="all of a series is given but some stretches: dropped packets",
        example={"steps": 1},
    )
    reg.add(
        "model",
        "piecewise",
        "flowloom_inverse.piecewise:Piecewise",
        summary="a perceptron on every stretch of a series by itself: a light prior of sound",
        example={"samples": 2, "width": 8},
    )
    reg.add(
        "restorer",
        "autoregressive",
        "flowloom_inverse.restorers:Autoregressive",
        summary="no flow: unknown samples by a linear predictor of the same signal (Janssen)",
        example={"order": 1},
    )
    reg.recipe(
        "restore-speech",
        "flowloom_inverse:recipes/restore-speech.yaml",
        summary="gaps and clipping of spoken digits undone by FlowDPS (needs flowloom-audio)",
        paper="2503.08136",
    )
