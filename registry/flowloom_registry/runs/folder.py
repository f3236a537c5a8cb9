"""The run folder: what lies where, and writes that are never half done.

::

    recipe.yaml         the resolved recipe: every default, qualified names, plugin versions
    written.yaml        the recipe as its author wrote it, without defaults
    environment.json    versions, machine, device, date, the command that began it
    data.json           shapes, tokens and classes of the data
    status.json         how far the run is
    metrics.jsonl       one line of training metrics a log step
    checkpoints/        step-NNNNNNNN/*.safetensors, the latest few
    best.safetensors    the weights that did best on held-out data, where the recipe validates
    flow.safetensors    everything that the flow learned and fitted, averaged where there are averages
    samples/            states, figures (figures.json lists them) and the report's small pictures
    evaluation.json     the table and the sweep
    report.html         all of it to look at
    evaluations/NAME/   what was asked of the run later: its own recipe, samples, evaluation and report
    made/PART/          what its data made once: samples of another run
    used/NAME/          what it used of another run: enough to build it again without that one's folder
    stages.yaml         of a staged run: the recipe of all stages; the folder itself is that of the last one
    stages/NAME/        the stages before it, each a run folder
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flowloom.errors import RunError
from flowloom_registry.config.within import told_within
from flowloom_registry.nearest import join_hints
from flowloom_registry.runs.command import command

FORMAT = 2
_PIECE = 2**20
_BEFORE_STATUS = {
    *("recipe.yaml", "written.yaml", "environment.json", "data.json"),
    *("used", "made", "stages.yaml", "stages"),
}
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_LEFT_BEHIND = re.compile(r"\..+\.\d+")


class InUseError(RunError):
    """Another process is at work on a run.

    Args:
        path: of the run.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is in use by another process")


class RunFolder:
    """One run's files.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.written = path / "written.yaml"
        self.environment = path / "environment.json"
        self.data = path / "data.json"
        self.status_file = path / "status.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.best = path / "best.safetensors"
        self.weights = path / "flow.safetensors"
        self.samples = path / "samples"
        self.drawn = self.samples / "samples.safetensors"
        self.evaluation = path / "evaluation.json"
        self.report = path / "report.html"
        self.made = path / "made"
        self.stages = path / "stages.yaml"

    def beside(self, name: str) -> RunFolder:
        """The same run, with a place of its own for what is asked of it under ``name``.

        Raises:
            RunError: the name is no plain word.
        """
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise RunError(f"--out is the name of an evaluation within the run, a plain word; got {name!r}")
        other = RunFolder(self.path)
        place = self.path / "evaluations" / name
        other.recipe, other.samples = place / "recipe.yaml", place / "samples"
        other.evaluation, other.report = place / "evaluation.json", place / "report.html"
        return other

    def exists(self) -> bool:
        """True for a run that was begun here.

        Raises:
            RunError: the folder holds something else, or a status that cannot be read.
        """
        if self.status_file.is_file():
            self.status()
            self._require_files()
            return True
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; choose another folder with --out")
        found = {p.name for p in self.path.iterdir()} if self.path.is_dir() else set()
        # Hidden files are those of a start that was cut off, or of a file browser.
        strangers = {name for name in found if not name.startswith(".")} - _BEFORE_STATUS
        if strangers:
            raise RunError(
                f"{self.path} is not a flowloom run (it holds {sorted(strangers)[0]!r} and no status.json); "
                "choose another folder with --out"
            )
        return False

    def _require_files(self) -> None:
        """Ask that nothing stands in the way of what will be written, before anything is."""
        for file in (self.evaluation, self.report, self.weights, self.best, self.metrics):
            if file.is_dir():
                raise RunError(f"{file} is a folder, where a file of the run belongs; remove it")

    def status(self) -> dict[str, Any]:
        """The status: ``state`` (training, trained, finished, failed), ``step``, ``message``.

        Raises:
            RunError: there is none, or it is damaged or of another format.
        """
        if not self.status_file.is_file() and self.stages.is_file():
            raise RunError(
                f"{self.path} has not come to its last stage; go on with: {self.going_on()} "
                f"(stages that are finished are runs in {self.path / 'stages'})"
            )
        if not self.status_file.is_file():
            if self.path.exists() and not self.path.is_dir():
                raise RunError(f"{self.path} is a file; the folder of a run is wanted")
            if not self.path.is_dir():
                raise RunError(f"there is no folder {self.path}")
            hint = join_hints("it has no status.json", told_within(self.path))
            raise RunError(f"{self.path} is not a flowloom run: {hint}")
        status = read_json(self.status_file)
        if status.get("format") != FORMAT:
            raise RunError(
                f"{self.path} is no run of this version of flowloom (its status.json is not of format "
                f"{FORMAT}); "
                "runs of 0.1 cannot be read: train it anew in another folder"
            )
        if not isinstance(status.get("state"), str) or not isinstance(status.get("step"), int):
            raise RunError(f"{self.status_file} is damaged: it says no state and step")
        return status

    def set_status(self, state: str, step: int, message: str = "") -> None:
        """Write the status."""
        value = {"format": FORMAT, "state": state, "step": step, "message": message}
        write_text(self.status_file, json.dumps(value, indent=2) + "\n")

    def require_here(self) -> None:
        """Ask that the run is still where it was begun, before more of it is written there.

        Raises:
            RunError: it was moved or deleted meanwhile.
        """
        if not self.status_file.is_file():
            raise RunError(
                f"{self.path} is gone: it was moved or deleted while the run was at work; nothing more is "
                "written there"
            )

    def begin(
        self, recipe: str, environment: Mapping[str, Any], data: Mapping[str, Any], written: str = ""
    ) -> None:
        """Create the folder with its recipe and what its data looks like; the status comes last, so a crash
        leaves no false run.

        Raises:
            RunError: no permission, or no space.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot create {self.path}: {error.strerror or error}") from error
        write_text(self.recipe, recipe)
        write_text(self.written, written or recipe)
        write_text(self.environment, json.dumps(environment, indent=2) + "\n")
        write_text(self.data, json.dumps(data) + "\n")
        self.set_status("training", 0)

    def ask(self, recipe: str) -> None:
        """Put down what is asked of the weights from now on.

        Under another recipe than before, the results of that one are taken away first, so that no table ever
        stands under a recipe that it does not belong to, whenever a kill comes.
        """
        if self.recipe.is_file() and read_text(self.recipe) == recipe:
            return
        for file in (self.evaluation, self.report, *self.samples.glob("*")):
            if not file.is_dir():
                file.unlink(missing_ok=True)
        write_text(self.recipe, recipe)

    def kept_weights(self) -> Path | None:
        """The file with the weights of the end, or the best so far; None where there is neither."""
        return next((file for file in (self.weights, self.best) if file.is_file()), None)

    def trained_weights(self) -> Path:
        """The file with the weights of a run that came to its end.

        Raises:
            RunError: there is none.
        """
        found = self.kept_weights()
        if found is None:
            raise RunError(f"{self.path} has no weights; go on with it: {self.going_on()}")
        return found

    def going_on(self, *options: str) -> str:
        """The command that goes on with the run, in as many processes as began it: its checkpoints may be
        for that number alone."""
        begun = (self.environment, *sorted(self.path.glob("stages/*/environment.json")))
        file = next((one for one in begun if one.is_file()), None)
        processes = 1
        with suppress(RunError):  # damaged, which is no matter of whoever asks
            processes = processes if file is None else read_json(file).get("processes", 1)
        return command(["run", str(self.path), *options], processes)

    def untouched(self) -> bool:
        """True for a run that has not made a step: nothing in it could be lost."""
        status = self.status()
        steps = {p.name for p in self.checkpoints.glob("step-*")} if self.checkpoints.is_dir() else set()
        made = (self.weights, self.report, self.evaluation)
        return (
            status["step"] == 0
            and status["state"] in ("training", "failed")
            and steps <= {"step-00000000"}
            and not any(file.exists() for file in made)
            and not any(line["step"] for line in self.read_metrics())
        )

    def clear(self) -> None:
        """Take away what a run that has not made a step has left: its files, and the fitted parts."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        for folder in (self.path / "used", self.made):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (
            self.metrics,
            self.best,
            self.status_file,
            self.data,
            self.environment,
            self.written,
            self.recipe,
        ):
            file.unlink(missing_ok=True)

    def trim_metrics(self, step: int) -> None:
        """Forget lines logged after ``step``, which a run continued from there will log again."""
        if self.metrics.exists():
            kept = [line for line in self.read_metrics() if line["step"] <= step]
            write_text(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Logged lines; one cut short by a crash is left out."""
        lines = []
        if self.metrics.exists():
            # What is damaged is one line of many: it is left out.
            for text in self.metrics.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):
                    continue
                if isinstance(line, dict) and isinstance(line.get("step"), int | float):
                    lines.append(line)
        return lines

    def append_metrics(self, line: Mapping[str, float]) -> None:
        """Add one line."""
        try:
            handle = os.open(self.metrics, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINKS, 0o666)
            with open(handle, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise RunError(f"cannot write {self.metrics}: {error.strerror or error}") from error

    def in_use(self) -> bool:
        """Whether another process is at work on the run now."""
        try:
            if self.path.is_dir():
                with self.locked():
                    pass
        except InUseError:
            return True
        except RunError:  # which is for whoever wants to write there
            pass
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; the system lets go of it even where the process is killed.

        Raises:
            InUseError: another process is at work on it.
            RunError: the folder cannot be written, or something in it is a link, through which writes would
                leave the folder.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            place = self.evaluation.parent
            within = [place.parent, place, *place.glob("*")] if place != self.path else []
            for entry in (*self.path.iterdir(), *within):
                if entry.is_symlink():
                    raise RunError(f"{entry} is a link; a run writes into its own folder only, so remove it")
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o666)
            handle = open(lock, "r+")  # noqa: SIM115  (held for the whole block)
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {error.strerror or error}") from error
        with handle:
            try:
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except ImportError:
                pass  # no such locks on this system
            except OSError as error:
                raise InUseError(self.path) from error
            with self._folder_locked():
                self._sweep()
                yield

    @contextmanager
    def _folder_locked(self) -> Iterator[None]:
        """Hold the folder itself as well, where it can be: a lock file may be deleted under its holder."""
        try:
            import fcntl

            whole = os.open(self.path, os.O_RDONLY)
        except (ImportError, OSError):
            yield
            return
        try:
            try:
                fcntl.flock(whole, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InUseError(self.path) from error
            except OSError:
                pass  # no such locks on this file system
            yield
        finally:
            os.close(whole)

    def _sweep(self) -> None:
        """Remove what killed writers left beside the files of this run."""
        for folder in (self.path, self.evaluation.parent, self.samples):
            for entry in folder.glob(".*") if folder.is_dir() else ():
                if _LEFT_BEHIND.fullmatch(entry.name) and not entry.is_dir():
                    entry.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file in one piece: beside it first, then renamed over it.

    Raises:
        RunError: no permission, or no space; what was there before is untouched.
    """
    # Processes of two containers may have one number.
    partial = path.with_name(f".{path.name}.{os.getpid()}{secrets.randbelow(10**9):09d}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whatever has that name already (a link, say) is replaced, not written through.
        partial.unlink(missing_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):  # where no file can be, there is none to take away
            partial.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """`write_bytes` in UTF-8."""
    write_bytes(path, text.encode())


def hash_file(path: Path) -> str:
    """The sha256 of a file, which is read piece by piece.

    Raises:
        RunError: it cannot be read.
    """
    found = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            while piece := handle.read(_PIECE):
                found.update(piece)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from error
    return found.hexdigest()


def read_text(path: Path) -> str:
    """Text in UTF-8, whatever the system's own encoding is.

    Raises:
        RunError: it cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A file of one JSON object.

    Raises:
        RunError: it cannot be read, or holds something else.
    """
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: it holds a {type(value).__name__}")
    return value
