"""Weights & Biases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from flowloom.errors import MissingDependencyError
from flowloom.trackers import Tracker
from flowloom_trackers.results import flat

__all__ = ["WandbTracker"]


class WandbTracker(Tracker):
    """Writes a run of Weights & Biases into ``wandb/`` of the run folder, or tells its server.

    What is written offline is uploaded by ``wandb sync RUN/wandb/offline-run-*``. A run that goes on is the
    same run there; steps that come again are left as they were.

    Args:
        project: of the run.
        online: tell the server as the run goes; the account is what ``wandb login`` or the environment says.
        entity: who the project belongs to.

    Raises:
        MissingDependencyError: the package ``wandb`` is not installed.
    """

    def __init__(self, project: str = "flowloom", online: bool = False, entity: str | None = None) -> None:
        if find_spec("wandb") is None:
            raise MissingDependencyError(
                "the package 'wandb' is not installed; pip install 'flowloom-trackers[wandb]'"
            )
        self.project, self.online, self.entity = project, online, entity
        self.remote = online
        self._run: Any = None

    def start(self, folder: Path, recipe: str) -> None:
        """Begin, or go on with the run of this folder."""
        import wandb

        # Of the folder's place: the same whenever it goes on.
        name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            name=folder.name,
            id=name,
            resume="allow" if self.online else None,
            dir=str(folder),
            config=yaml.safe_load(recipe) or {},
            mode="online" if self.online else "offline",
            settings=wandb.Settings(
                silent=True,
                console="off",
                symlink=False,
                x_disable_stats=True,
                x_disable_meta=True,
                disable_git=True,
            ),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send a line."""
        self._run.log(dict(metrics), step=step)

    def finish(self, results: Mapping[str, Any]) -> None:
        """Send the table as the run's summary, and end it."""
        self._run.summary.update(flat(results))
        self._run.finish()
