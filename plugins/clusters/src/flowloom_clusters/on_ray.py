"""Cells as tasks of a Ray cluster."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flowloom.errors import FlowloomError, MissingDependencyError
from flowloom_registry.studies.cells import Cell
from flowloom_registry.studies.folder import RUNNING, State
from flowloom_registry.studies.launchers import Launcher, Launching, Source, carry_out_named, ready

__all__ = ["OnRay"]

_STORE = 80 * 2**20
"""Bytes of Ray's own store on this machine: cells read and write files."""


class OnRay(Launcher):
    """Workers of a Ray cluster, which share the disk that the study lies on.

    A cell whose worker dies is carried out again, and goes on from its last checkpoint. What a cell itself
    cannot do is its state, and is not tried again.

    Args:
        address: of the cluster; a new one on this machine where None.
        workers: of a new cluster on this machine.
        cpus: that a cell takes.
        gpus: that a cell takes.
        tries: how often a cell is begun, at most.

    Raises:
        MissingDependencyError: the package ``ray`` is not installed.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int = 2,
        cpus: float = 1.0,
        gpus: float = 0.0,
        tries: int = 3,
    ) -> None:
        if find_spec("ray") is None:
            raise MissingDependencyError(
                "the package 'ray' is not installed; pip install 'flowloom-clusters[ray]'"
            )
        if workers < 1 or tries < 1:
            raise FlowloomError(f"ray: workers and tries must be at least 1, got {workers} and {tries}")
        self.address, self.workers, self.cpus, self.gpus, self.tries = address, workers, cpus, gpus, tries

    def carry_out(self, launching: Launching) -> None:
        """Carry every cell out."""
        import ray

        own = {} if self.address else {"num_cpus": self.workers * self.cpus, "object_store_memory": _STORE}
        local = {} if self.address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level="ERROR", **own, **local)
        except Exception as error:  # of many kinds, all of them about the cluster
            line = " ".join(str(error).split())
            raise FlowloomError(
                f"ray: there is no cluster at {self.address or 'this machine'}: {line}"
            ) from error
        try:
            self._all(launching, ray)
        finally:
            ray.shutdown()

    def _all(self, launching: Launching, ray: Any) -> None:
        # Ray's own retries would begin again what the cell itself could not do.
        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(_carried_out)
        study, waiting = launching.study, list(launching.cells)
        running: dict[Any, Cell] = {}
        begun: dict[str, int] = {}

        def begin(cell: Cell) -> None:
            begun[cell.name] = begun.get(cell.name, 0) + 1
            before = study.state(cell.name)
            study.set_state(cell.name, State(RUNNING, "", before.seconds, before.asked))
            running[
                task.remote(
                    launching.source, cell.name, str(study.path.absolute()), launching.device, os.getcwd()
                )
            ] = cell

        while waiting or running:
            while (cell := ready(waiting, running.values())) is not None:
                waiting.remove(cell)
                begin(cell)
            (ended, *_), _others = ray.wait(list(running))
            cell, why = running.pop(ended), ""
            try:
                ray.get(ended)
            except ray.exceptions.RayTaskError as error:
                why = " ".join(str(error.cause).split())
            except ray.exceptions.RayError as error:
                why = f"its worker died {begun[cell.name]} times ({type(error).__name__})"
                if begun[cell.name] < self.tries:
                    begin(cell)
                    continue
            launching.ended(cell, why or "its task ended without a word")


def _carried_out(source: Source, name: str, study: str, device: str | None, place: str) -> None:
    os.chdir(place)  # files are named as in the experiment
    carry_out_named(source, name, Path(study), device)
