"""Cells as the tasks of a Slurm array."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from flowloom.errors import FlowloomError, MissingDependencyError
from flowloom_registry.runs.folder import write_text
from flowloom_registry.studies.cells import Cell
from flowloom_registry.studies.launchers import Launcher, Launching

__all__ = ["Slurm"]


class Slurm(Launcher):
    """Writes a batch script whose array has a task for every cell, in the study's folder ``slurm/``.

    Cells that are asked of another cell's weights stand in a second script, which comes after the first. The
    same experiment, asked for again when the tasks have ended, gathers the results, and launches what failed.

    Args:
        options: of ``#SBATCH``, such as ``{partition: gpu, gres: "gpu:1", time: "04:00:00"}``.
        most: tasks at a time; as many as the cluster gives where None.
        submit: hand the scripts to ``sbatch`` and wait for them; else they are only written.
        setup: lines of shell before a cell, such as ``module load cuda``.

    Raises:
        MissingDependencyError: there is no ``sbatch`` to submit to.
        FlowloomError: an option of the array itself, or one that is no option.
    """

    def __init__(
        self,
        options: Mapping[str, str | int] | None = None,
        most: int | None = None,
        submit: bool = False,
        setup: str = "",
    ) -> None:
        self.options = dict(options or {})
        for name, value in self.options.items():
            if name in ("array", "output", "a", "o") or not re.fullmatch(r"[a-zA-Z][\w-]*", name):
                raise FlowloomError(f"slurm sets --{name} itself, or there is no such option; leave it out")
            if "\n" in str(value):
                raise FlowloomError(f"slurm: option {name} must stand on one line")
        if most is not None and most < 1:
            raise FlowloomError(f"slurm: most must be at least 1, got {most}")
        if submit and shutil.which("sbatch") is None:  # before anything is written
            raise MissingDependencyError(
                "there is no 'sbatch' here; leave submit out, and take the scripts to the cluster"
            )
        self.most, self.submit, self.setup = most, submit, setup

    def carry_out(self, launching: Launching) -> None:
        """Write the scripts, and submit them where that is asked for."""
        if not launching.command:
            raise FlowloomError(
                "launcher slurm carries out experiments of a file ('flowloom experiment FILE')"
            )
        folder = launching.study.path / "slurm"
        rounds = (
            ("cells", [cell for cell in launching.cells if not cell.trains]),
            ("asked", [cell for cell in launching.cells if cell.trains]),
        )
        scripts: list[tuple[Path, list[Cell]]] = []
        for name, cells in rounds:
            if cells:
                write_text(folder / f"{name}.txt", "".join(f"{cell.name}\n" for cell in cells))
                write_text(folder / f"{name}.sh", self.script(launching, folder / f"{name}.txt", cells))
                scripts.append((folder / f"{name}.sh", cells))
        if not self.submit:
            print("\n".join(_lines_to_paste([script for script, _ in scripts])), file=sys.stderr)
            return
        for script, cells in scripts:
            job = self._submitted(script)
            for cell in cells:
                launching.ended(cell, f"its task of job {job} ended without a word; see {folder}")

    def script(self, launching: Launching, names: Path, cells: Sequence[Cell]) -> str:
        """The text of a script: task i carries out the cell on line i + 1 of ``names``."""
        at_once = "" if self.most is None else f"%{self.most}"
        options = {
            "job-name": f"flowloom-{launching.study.path.name}",
            **self.options,
            "array": f"0-{len(cells) - 1}{at_once}",
            # Slurm replaces what follows a %, so one of the folder's own name is doubled.
            "output": f"{str(names.parent.absolute()).replace('%', '%%')}/{names.stem}-%a.log",
        }
        lines = ["#!/bin/bash", *(f"#SBATCH --{name}={_quoted(value)}" for name, value in options.items())]
        command = shlex.join([sys.executable, "-m", "flowloom_registry", *launching.command])
        # Batch nodes kill with SIGTERM before time is up: training then writes a checkpoint.
        return "\n".join(
            [
                *lines,
                "set -eu",
                f"cd {shlex.quote(os.getcwd())}",
                *([self.setup] if self.setup else []),
                f'cell=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(names.absolute()))})',
                f'exec {command} "$cell"',
                "",
            ]
        )

    def _submitted(self, script: Path) -> str:
        """Hand a script to Slurm and wait until all tasks have ended; returns the number of the job."""
        done = subprocess.run(
            ["sbatch", "--parsable", "--wait", str(script)], capture_output=True, text=True, check=False
        )
        job = done.stdout.strip().partition(";")[0].splitlines()
        if not job:  # a task that failed is no failure of sbatch, which then says the job's number as well
            said = " ".join(done.stderr.split()) or f"code {done.returncode}"
            raise FlowloomError(f"sbatch refused {script}: {said}")
        return job[0]


def _lines_to_paste(scripts: Sequence[Path]) -> list[str]:
    """Lines of shell that submit a script, or two of which the second comes after the first."""
    first, *second = [shlex.quote(str(script)) for script in scripts]
    if not second:
        return [f"sbatch {first}"]
    # Options stand before the script: what follows its name is the script's own.
    return [f"J=$(sbatch --parsable {first})", f"sbatch --dependency=afterany:$J {second[0]}"]


def _quoted(value: str | int) -> str:
    """A value of a line ``#SBATCH``: in double quotes where Slurm would end it at a space or a ``#``."""
    text = str(value)
    if re.fullmatch(r"[\w@%+=:,./-]*", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
