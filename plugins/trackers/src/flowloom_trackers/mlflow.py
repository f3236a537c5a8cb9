"""MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flowloom.errors import MissingDependencyError
from flowloom.trackers import Tracker
from flowloom_trackers.results import flat

__all__ = ["MlflowTracker"]

_KEPT = "mlflow-run.txt"


class MlflowTracker(Tracker):
    """Writes a run of MLflow into ``mlflow.db`` of the run folder, or tells a server.

    The number of the run is kept beside it (``mlflow-run.txt``), so that a run that goes on is the same run
    there; of steps that come again, both values are kept, as MLflow does.

    Args:
        uri: of a tracking server; a database in the run folder where None.
        experiment: name of the experiment.

    Raises:
        MissingDependencyError: the package ``mlflow-skinny``, or what its database needs, is not installed.
    """

    def __init__(self, uri: str | None = None, experiment: str = "flowloom") -> None:
        for package in ("mlflow", *(() if uri else ("sqlalchemy", "alembic"))):
            if find_spec(package) is None:
                raise MissingDependencyError(
                    f"the package '{package}' is not installed; pip install 'flowloom-trackers[mlflow]'"
                )
        self.uri, self.experiment = uri, experiment
        self.remote = uri is not None
        self._client: Any = None
        self._id = ""

    def start(self, folder: Path, recipe: str) -> None:
        """Begin, or go on with the run of this folder."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._client = MlflowClient(self.uri or f"sqlite:///{(folder / 'mlflow.db').absolute()}")
        kept = folder / _KEPT
        if kept.is_file():
            self._id = kept.read_text().strip()
            try:
                self._client.set_terminated(self._id, status="RUNNING")
                return
            except MlflowException:
                pass  # it was deleted there
        found = self._client.get_experiment_by_name(self.experiment)
        number = (
            found.experiment_id
            if found is not None
            else self._client.create_experiment(
                self.experiment, artifact_location=None if self.uri else str(folder.absolute() / "mlflow")
            )
        )
        self._id = self._client.create_run(number, run_name=folder.name).info.run_id
        self._client.set_tag(self._id, "recipe", recipe[:5000])
        kept.write_text(self._id + "\n")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send a line; MLflow holds no infinite numbers."""
        for name, value in metrics.items():
            if math.isfinite(value):
                self._client.log_metric(self._id, name, float(value), step=step)

    def finish(self, results: Mapping[str, Any]) -> None:
        """Send the table, and end the run."""
        for name, value in flat(results).items():
            self._client.log_metric(self._id, name, value)
        self._client.set_terminated(self._id)
