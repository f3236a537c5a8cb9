"""What the columns of the evaluation are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flowloom.data import Examples
from flowloom.spec import Condition, Spec
from flowloom_registry.cli import main
from flowloom_registry.runs.columns import joined

SORTED = """
import pytest
import torch
from flowloom.data import Examples, Tensors
from flowloom.metrics import Metric


def Data():
    x = torch.linspace(-1, 1, 400)[:, None].repeat(1, 2)
    return Tensors(x, test=Examples(x[::4] + 1e-3))


class Mean(Metric):
    better = {"mean": "lower"}

    def __call__(self, samples, real):
        return {"mean": float(samples.x.mean())}
"""


def test_the_training_column_is_of_any_rows_and_not_of_the_first(tmp_path: Path) -> None:
    """The data are sorted: their first 40 rows have the mean -0.9, any 40 about 0."""
    (tmp_path / "sorted.py").write_text(SORTED)
    (tmp_path / "r.yaml").write_text(
        "data: ./sorted.py:Data\nmodel: {use: mlp, width: 8, depth: 1}\nsolver: {use: euler, steps: 2}\n"
        "metrics: [./sorted.py:Mean]\nevaluate: {n: 40, sweep_nfe: []}\ntrain: {steps: 2, batch: 8}\n"
    )
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    columns = json.loads((tmp_path / "out" / "evaluation.json").read_text())["columns"]
    assert abs(columns["training data"]["mean"]) < 0.35


def test_every_draw_of_a_row_has_its_own_length() -> None:
    spec = Spec((3,), conditions={"mask": Condition(shape=(3,), role="real")})
    lengths = ([1, 3], [2, 2])
    draws = [
        Examples(torch.randn(2, 3), {"mask": torch.arange(3) < torch.tensor(long)[:, None]}).laid_out(spec)
        for long in lengths
    ]
    both = joined(draws)
    assert both.layout is not None
    assert both.layout.real.sum(1).tolist() == [1, 3, 2, 2]
    assert both.cond["mask"].sum(1).tolist() == [1, 3, 2, 2]
    assert joined([Examples(torch.randn(2, 3)), Examples(torch.randn(2, 3))]).layout is None


TWICE = """
from flowloom.codecs import Identity
from flowloom.data import Examples


class Twice(Identity):
    lossy = True

    def compared(self, examples):
        return {"twice": Examples(2 * examples.x, examples.cond)}
"""


def judged(tmp_path: Path, codec: str, more: str = "") -> dict[str, Any]:
    """The evaluation of a run behind that codec."""
    (tmp_path / "sorted.py").write_text(SORTED)
    (tmp_path / "twice.py").write_text(codec)
    (tmp_path / "r.yaml").write_text(
        "data: ./sorted.py:Data\nmodel: {use: mlp, width: 8, depth: 1}\nsolver: {use: euler, steps: 2}\n"
        "codec: ./twice.py:Twice\nmetrics: [./sorted.py:Mean]\nevaluate: {n: 40, sweep_nfe: []}\n"
        f"train: {{steps: 2, batch: 8}}\n{more}"
    )
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    found: dict[str, Any] = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    return found


def test_samples_and_real_rows_go_through_the_decoders_that_a_codec_compares(tmp_path: Path) -> None:
    columns = judged(tmp_path, TWICE)["columns"]
    assert list(columns)[:2] == ["samples", "samples through twice"]
    assert columns["samples"]["mean"] != 0
    for own, others in (("samples", "samples through twice"), ("through the codec", "through twice")):
        assert columns[others]["mean"] == pytest.approx(2 * columns[own]["mean"], rel=1e-5)


def test_a_decoder_beside_the_own_one_takes_no_column_with_it(tmp_path: Path) -> None:
    """It fails after training alone (a rehearsal would have told)."""
    failing = TWICE.replace(
        "        return {",
        "        if len(examples.x) > 2:\n            raise ValueError('no memory')\n        return {",
    )
    found = judged(tmp_path, failing)
    assert {"samples", "through the codec"} <= set(found["columns"])
    assert not [name for name in found["columns"] if "twice" in name]
    assert len([note for note in found["notes"] if "other decoders" in note and "no memory" in note]) == 2


HALVES = """
from flowloom.codecs import Identity
from flowloom.data import Examples


class Twice(Identity):
    lossy = %s

    def decode(self, examples):
        return Examples(examples.x / 2 + 1, examples.cond)
"""
ASKED = "tasks: [{use: inpaint, metrics: [./sorted.py:Mean]}]\n"


def test_what_is_right_goes_through_the_codec_beside_the_answers_of_a_task(tmp_path: Path) -> None:
    task = judged(tmp_path, HALVES % True, ASKED)["tasks"]["inpaint"]
    assert task["columns"]["through the codec"]["mean"] == pytest.approx(1.0, abs=2e-2)
    assert task["columns"]["training data"]["mean"] == pytest.approx(0, abs=0.35)
    assert task["example"] == ["0", ""]


def test_the_report_asks_tasks_by_the_names_that_commands_know(tmp_path: Path, capsys) -> None:
    second = ASKED.replace("tasks: [", "tasks: [{use: inpaint, holes: [{use: mask, prefix: 1}]}, ")
    judged(tmp_path, HALVES % False, second)
    report = (tmp_path / "out" / "report.html").read_text()
    for name in ("inpaint", "inpaint-2"):
        assert f"flowloom task {tmp_path / 'out'} {name} 0" in report
        assert main(["task", str(tmp_path / "out"), name, "0", "--trust", "-n", "1"]) == 0
    capsys.readouterr()
    assert main(["task", str(tmp_path / "out"), "inpaint-3", "0", "--trust"]) == 2
    assert "names inpaint, inpaint-2" in capsys.readouterr().err


@pytest.mark.parametrize("lossy", [True, False, "in part"])
def test_a_task_whose_truth_is_no_data_or_but_a_part_or_whose_codec_loses_nothing_has_no_such_column(
    tmp_path: Path, lossy: bool | str
) -> None:
    other = "inpaint"
    if lossy == "in part":
        other = "./parts.py:Parts"
        (tmp_path / "parts.py").write_text(
            "from flowloom.tasks import Inpaint\n\n\nclass Parts(Inpaint):\n    exact = False\n"
        )
    elif lossy:
        other = "./parts.py:Parts"
        (tmp_path / "parts.py").write_text(
            "from flowloom.data import Examples\nfrom flowloom.tasks import Inpaint\n\n\n"
            "class Parts(Inpaint):\n"
            "    def pose(self, data, n, generator):\n"
            "        asked, truth = super().pose(data, n, generator)\n"
            "        return asked, Examples(truth.x[:, :1])\n\n"
            "    def __call__(self, flow, asked, *, seed=0):\n"
            "        return Examples(super().__call__(flow, asked, seed=seed).x[:, :1])\n"
        )
    found = judged(tmp_path, HALVES % bool(lossy), ASKED.replace("use: inpaint", f"use: {other}"))
    (task,) = found["tasks"].values()
    assert "samples" in task["columns"]
    assert "through the codec" not in task["columns"]
    assert not [note for note in found["notes"] if "through the codec" in note]
