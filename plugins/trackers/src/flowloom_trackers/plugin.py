"""The rows of the trackers plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add two trackers."""
    reg.add(
        "tracker",
        "wandb",
        "flowloom_trackers.wandb:WandbTracker",
        summary="Weights & Biases: offline in the run folder, or its server",
        example={},
        requires=("wandb",),
    )
    reg.add(
        "tracker",
        "mlflow",
        "flowloom_trackers.mlflow:MlflowTracker",
        summary="MLflow: a database in the run folder, or a server",
        example={},
        requires=("mlflow",),
    )
