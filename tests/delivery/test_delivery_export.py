"""Graphs of a run: torch.export and ONNX, equal to it on rows that they were not captured on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from flowloom_registry import load
from flowloom_registry.cli import main
from flowloom_registry.delivery import export as exporting
from flowloom_registry.runs.starting import start

TOKENS = """
name: tokens
data: {use: toy-molecules, n: 60}
model: {use: mlp, width: 8, depth: 1}
train: {steps: 2, batch: 8}
evaluate: {n: 8, sweep_nfe: []}
sample: {n: 4, frames: 2}
"""


def needs_onnx() -> None:
    for package in (*exporting.ONNX_PACKAGES, "onnxruntime"):
        pytest.importorskip(package, reason=f"ONNX graphs need {package}: pip install 'flowloom[onnx]'")


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("graphs") / "torch"
    assert main(["export", str(finished), "--format", "torch", "--out", str(out)]) == 0
    return out


def test_the_sampler_draws_what_the_run_draws(finished: Path, exported: Path) -> None:
    flow = load(finished, device="cpu").flow
    cond = {"label": torch.arange(7)}
    begun = start(flow, 7, seed=5, cond=cond)
    sampler = torch.export.load(exported / "sampler.pt2").module()
    x = sampler({"x0": begun.x0, "cond.label": begun.cond["label"]})["x"]
    right = flow.solve(7, seed=5, cond=cond).x
    assert (x - right).abs().max() < 1e-5
    other = sampler({"x0": begun.x0, "cond.label": begun.cond["label"].roll(1)})["x"]
    assert (other - right).abs().max() > 1e-3, "conditions are in the graph"


def test_the_field_is_the_guided_one(finished: Path, exported: Path) -> None:
    flow = load(finished, device="cpu").flow
    x, t, label = torch.randn(4, 2), torch.rand(4), torch.tensor([0, 3, 3, 7])
    field = torch.export.load(exported / "field.pt2").module()
    out = field({"x": x, "t": t, "cond.label": label})["out"]
    with torch.no_grad():
        right = flow.field()(x, t, {"label": label})
        plain = flow.model(x, t, label=label)
    assert (out - right).abs().max() < 1e-5
    assert (out - plain).abs().max() > 1e-4


def test_the_manifest_says_how_to_use_them(exported: Path) -> None:
    told = json.loads((exported / "export.json").read_text())
    field, sampler = told["graphs"]["field"], told["graphs"]["sampler"]
    assert field["kind"] == "velocity"
    assert field["inputs"]["x"] == {"dtype": "float32", "shape": ["rows", 2]}
    assert set(sampler["inputs"]) == {"x0", "cond.label"}
    assert (sampler["solver"], sampler["steps"]) == ("Midpoint", 2)
    assert told["guidance"] == "ClassifierFree"


@pytest.mark.slow
def test_onnx_in_onnxruntime(finished: Path, tmp_path: Path) -> None:
    needs_onnx()
    import onnxruntime

    words = ["export", str(finished), "--format", "onnx", "--solver", "heun", "--steps", "3"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    flow = load(finished, device="cpu").flow
    cond = {"label": torch.arange(6)}
    begun = start(flow, 6, seed=9, cond=cond)
    session = onnxruntime.InferenceSession(str(tmp_path / "sampler.onnx"))
    (x,) = session.run(["x"], {"x0": begun.x0.numpy(), "cond.label": begun.cond["label"].numpy()})
    from flowloom.solvers import Heun

    right = flow.solve(6, seed=9, cond=cond, solver=Heun(3)).x
    assert (torch.from_numpy(x) - right).abs().max() < 1e-5
    files = json.loads((tmp_path / "export.json").read_text())["graphs"]["sampler"]["files"]
    assert files["sampler.onnx"]["deviation"] < 1e-5


def test_what_draws_on_its_way_has_a_field_and_no_sampler(tmp_path: Path, capsys) -> None:
    (tmp_path / "tokens.yaml").write_text(TOKENS)
    run = tmp_path / "run"
    assert main(["run", str(tmp_path / "tokens.yaml"), "--out", str(run), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["export", str(run), "--format", "torch"]) == 0
    out = capsys.readouterr().out
    assert "no sampler was written" in out
    assert "draws on its way" in out
    told = json.loads((run / "export/export.json").read_text())
    assert list(told["graphs"]) == ["field"]
    assert told["graphs"]["field"]["kind"] == {"pos": "velocity", "types": "posterior"}
    assert not (run / "export/sampler.pt2").exists()


class TestBadInput:
    def refused(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
        assert main(words) == 2
        err = capsys.readouterr().err
        assert len(err.strip().splitlines()) == 1, err
        return err

    def test_a_graph_that_deviates_is_not_written(self, finished, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
        words = ["export", str(finished), "--format", "torch", "--out", str(tmp_path / "out")]
        assert "deviates from the run" in self.refused(words, capsys)
        assert not (tmp_path / "out").exists()

    def test_without_the_packages(self, finished, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(exporting, "find_spec", lambda name: None)
        words = ["export", str(finished), "--out", str(tmp_path / "out")]
        assert "pip install 'flowloom[onnx]'" in self.refused(words, capsys)
        assert not (tmp_path / "out").exists()

    def test_no_steps(self, finished, capsys):
        assert "--steps" in self.refused(["export", str(finished), "--steps", "0"], capsys)

    def test_a_full_disk(self, finished, tmp_path, capsys, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torch.export, "save", full)
        words = ["export", str(finished), "--format", "torch", "--out", str(tmp_path / "out")]
        assert "No space left on device" in self.refused(words, capsys)
        assert not list((tmp_path / "out").iterdir())
