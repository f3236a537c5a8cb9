"""Trained weights asked with another decoder than they were trained beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from flowloom_registry.cli import main
from flowloom_registry.config.taken import USED

LOUDER = """
from flowloom.codecs import Identity
from flowloom.data import Examples
from flowloom.metrics import Metric
from flowloom.spec import Spec
from flowloom.trained import Trained


class Louder(Identity):
    decoding = ("gain", "other")

    def __init__(self, spec: Spec, gain: float = 1.0, other: Trained | None = None, shift: float = 0.0):
        super().__init__(spec)
        self.gain, self.other, self.shift = gain, other, shift

    def encode(self, examples, generator=None):
        return Examples(examples.x + self.shift, examples.cond)

    def decode(self, examples):
        bias = 0 if self.other is None else sum(float(p.sum()) for p in self.other.flow.parameters())
        return Examples(self.gain * examples.x + bias, examples.cond)


class Mean(Metric):
    better = {"mean": "lower"}

    def __call__(self, samples, real):
        return {"mean": float(samples.x.mean())}
"""
RECIPE = """
data: {use: eight-gaussians, n: 200, labelled: false}
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
metrics: [./louder.py:Mean]
evaluate: {n: 20, reference: 40, sweep_nfe: []}
train: {steps: 2, batch: 8}
"""
CODEC = "codec: {use: ./louder.py:Louder, gain: 1.0}\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run behind the codec, one behind another run's weights, and two that a codec can be given."""
    home = tmp_path_factory.mktemp("decoding")
    (home / "louder.py").write_text(LOUDER)
    for name, more in (
        ("a/plain", ""),
        ("b/plain", "seed: 1\n"),
        ("run", CODEC),
        ("with", CODEC.replace("gain", "other: {run: a/plain}, gain")),
    ):
        (home / "r.yaml").write_text(RECIPE + more)
        assert main(["run", str(home / "r.yaml"), "--out", str(home / name), "--trust"]) == 0
    return home


def mean(place: Path) -> float:
    found: dict[str, Any] = json.loads((place / "evaluation.json").read_text())
    return float(found["columns"]["samples"]["mean"])


def test_a_decoder_can_be_another_than_in_training(runs: Path) -> None:
    run = runs / "run"
    assert main(["eval", str(run), "--trust", "--set", "codec.gain=2", "--out", "loud"]) == 0
    assert mean(run / "evaluations/loud") == pytest.approx(2 * mean(run), rel=1e-5)
    drawn = []
    for more in ([], ["--set", "codec.gain=2"]):
        assert main(["sample", str(run), "-n", "3", "--trust", "--out", str(runs / "drawn"), *more]) == 0
        drawn.append(load_file(runs / "drawn/samples.safetensors")["x"])
    assert drawn[1].equal(2 * drawn[0])


def test_a_decoder_of_another_run_of_the_same_name_is_another(runs: Path) -> None:
    run = runs / "with"
    assert (run / USED / "plain").is_dir()
    words = ["eval", str(run), "--trust", "--out", "b", "--set", f"codec.other={{run: {runs / 'b/plain'}}}"]
    assert main(words) == 0
    assert mean(run / "evaluations/b") != pytest.approx(mean(run), abs=1e-4)
    # Both recipes are read from where they lie.
    for place, other in ((run, run / USED / "plain"), (run / "evaluations/b", runs / "b/plain")):
        told = yaml.safe_load((place / "recipe.yaml").read_text())["codec"]["other"]["run"]
        assert (place / told).resolve() == other
    # The run's own copy is no change, wherever the run lies.
    assert main(["eval", str(run), "--trust", "--out", "c", "--set", "codec.gain=1"]) == 0
    assert mean(run / "evaluations/c") == mean(run)


def test_what_encodes_stays_as_it_was(runs: Path, capsys) -> None:
    capsys.readouterr()
    words = ["eval", str(runs / "run"), "--trust", "--out", "x"]
    assert main([*words, "--set", "codec.shift=1", "--set", "codec.gain=2"]) == 2
    assert "changes what" in (said := capsys.readouterr().err)
    assert "codec.shift: 0.0 -> 1" in said
    assert "codec.gain" in said.partition("can be asked again")[2]


def test_another_decoder_trains_nothing(runs: Path, capsys) -> None:
    capsys.readouterr()
    other = f"codec.other={{run: {runs / 'b/plain'}, frozen: false}}"
    assert main(["sample", str(runs / "with"), "-n", "2", "--trust", "--set", other]) == 2
    said = capsys.readouterr().err
    assert "changes what" in said
    assert "codec.other" in said


def test_a_run_that_trains_goes_on_with_its_own_decoder(runs: Path, capsys) -> None:
    (runs / "r.yaml").write_text(RECIPE + CODEC.replace("1.0", "2.0"))
    capsys.readouterr()
    assert main(["run", str(runs / "r.yaml"), "--out", str(runs / "run")]) == 2
    assert "codec.gain: 1.0 -> 2.0" in capsys.readouterr().err


def test_an_argument_with_a_dot_is_the_runs_and_one_without_the_tasks(runs: Path, capsys) -> None:
    words = ["task", str(runs / "run"), "inpaint", "3", "--trust", "-n", "4", "--out", str(runs / "answers")]
    found = []
    for more in (["--set", "codec.gain=3"], ["--set", "draws=2", "--set", "codec.gain=1"]):
        assert main([*words, *more]) == 0
        found.append(load_file(runs / "answers/answers.safetensors")["x"])
    assert not found[0].equal(found[1])
    capsys.readouterr()
    assert main([*words, "--set", "codec.shift=1"]) == 2
    assert "changes what" in capsys.readouterr().err
