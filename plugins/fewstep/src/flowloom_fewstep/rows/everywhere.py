"""The table of few-step methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add it."""
    reg.experiment(
        "few-step-everywhere",
        "flowloom_fewstep:experiments/few-step-everywhere.yaml",
        summary="few-step methods on seven kinds of data at 1 to 16 evaluations, as much training for each",
    )
