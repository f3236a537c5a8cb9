"""What the files of a run say, read for its report; what is damaged is said in a line and left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from flowloom.errors import RunError
from flowloom.renderers import Figure
from flowloom_registry.config.nodes import MapNode, plain
from flowloom_registry.config.yaml import read
from flowloom_registry.errors import ConfigError
from flowloom_registry.runs.folder import RunFolder, read_json, read_text
from flowloom_registry.runs.pictures import Pictures, read_answers, read_figures, read_pictures

__all__ = ["Found", "find"]

T = TypeVar("T")


@dataclass
class Found:
    """The files of a run, read.

    Args:
        folder: of the run.
        status: ``status.json``.
        recipe: text of the resolved recipe, empty where it cannot be read.
        written: text of the author's, likewise.
        environment: ``environment.json``.
        data: ``data.json``.
        evaluation: ``evaluation.json``, empty where there is none.
        metrics: logged lines.
        figures: what ``figures.json`` lists.
        pictures: ``pictures.json``.
        answers: figures of each task, as ``tasks.json`` lists them.
        problems: a line for every file that is damaged.
    """

    folder: RunFolder
    status: Mapping[str, Any]
    recipe: str = ""
    written: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    figures: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    pictures: Pictures = field(default_factory=Pictures)
    answers: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def said(self, name: str) -> str:
        """A text of the recipe: ``name``, ``summary``, ``paper``, ``seed``; empty where it says none."""
        for text in (self.recipe, self.written):
            try:
                root = read(text, "recipe.yaml").root if text else None
            except ConfigError:
                continue
            value = plain(root).get(name) if isinstance(root, MapNode) else None
            if isinstance(value, (str, int)):
                return str(value)
        return ""

    @property
    def baseline(self) -> str:
        """Name of the column that any flow has to beat, empty where there is none."""
        return str(self.evaluation.get("baseline") or "")

    @property
    def parameters(self) -> int | None:
        """Trained parameters of the flow, None where no file says it."""
        value = self.evaluation.get("parameters") or self.environment.get("parameters")
        return value if isinstance(value, int) else None

    @property
    def train_seconds(self) -> float | None:
        """Seconds of training, None where nothing was logged."""
        seconds = [line["seconds"] for line in self.metrics if isinstance(line.get("seconds"), (int, float))]
        value = self.evaluation.get("train_seconds") or (seconds[-1] if seconds else None)
        return float(value) if isinstance(value, (int, float)) else None


def find(folder: RunFolder) -> Found:
    """Read the files of a run.

    Raises:
        RunError: it is no run, or has no status.
    """
    found = Found(folder, folder.status())

    def safely(reader: Callable[[], T], otherwise: T) -> T:
        try:
            return reader()
        except RunError as error:
            found.problems.append(" ".join(str(error).split()) + "; the report does without it")
            return otherwise

    found.recipe = safely(lambda: _recipe(folder.recipe), "")
    if folder.written.is_file():
        found.written = safely(lambda: read_text(folder.written), "")
    found.environment = safely(lambda: read_json(folder.environment), {})
    found.data = safely(lambda: read_json(folder.data), {})
    if folder.evaluation.is_file():
        found.evaluation = safely(lambda: read_evaluation(folder), {})
    found.metrics = safely(folder.read_metrics, [])
    found.figures = safely(lambda: read_figures(folder.samples), {})
    found.pictures = safely(lambda: read_pictures(folder.samples), Pictures())
    found.answers = safely(lambda: read_answers(folder.samples), {})
    return found


def _recipe(file: Path) -> str:
    """The text of a resolved recipe, which is a mapping."""
    text = read_text(file)
    try:
        whole = isinstance(read(text, str(file)).root, MapNode)
    except ConfigError as error:
        raise RunError(f"{file} is damaged: {error}") from error
    if not whole:
        raise RunError(f"{file} is damaged: it is no mapping")
    return text


def read_evaluation(folder: RunFolder) -> Mapping[str, Any]:
    """The evaluation, whose tables hold numbers by name.

    Raises:
        RunError: the file is damaged.
    """
    value = read_json(folder.evaluation)
    tables = [value.get("columns", {}), value.get("scores", {})]
    tasks = value.get("tasks", {})
    if isinstance(tasks, dict):
        tables += [task.get("columns", {}) if isinstance(task, dict) else task for task in tasks.values()]
    texts = [value.get("better", {}), value.get("meaning", {})]
    whole = (
        all(isinstance(table, dict) and all(map(_numbers, table.values())) for table in tables)
        and all(isinstance(one, dict) and all(isinstance(v, str) for v in one.values()) for one in texts)
        and isinstance(tasks, dict)
        and isinstance(value.get("notes", []), list)
        and _numbers({key: value.get(key) for key in ("nfe", "seconds", "train_seconds", "parameters")})
        and isinstance(value.get("sweep", []), list)
        and all(
            isinstance(p, dict)
            and isinstance(p.get("solver"), str)
            and isinstance(p.get("nfe"), int)
            and _numbers(p.get("values"))
            for p in value.get("sweep", [])
        )
    )
    if not whole:
        raise RunError(f"{folder.evaluation} is damaged: it holds no table of numbers")
    return value


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(v is None or isinstance(v, (int, float)) for v in value.values())
