"""One thread: tensors are tiny. What tests share: recipes over seeds, a kill, networks without memory."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flowloom.training.loop import Trainer
from flowloom_registry import build, load_recipe
from flowloom_registry.cli import main

FAKE = """
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec

class Latents(Dataset):
    spec = Spec(SHAPE, conditions={"label": Condition(1000)})
    def __len__(self):
        return 1
    def take(self, rows):
        n = len(rows)
        return Examples(torch.zeros(n, *SHAPE), {"label": torch.zeros(n, dtype=torch.long)})
"""


class Killed(BaseException):
    """What no part of the program catches."""


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def survives_a_kill(tmp_path, monkeypatch):
    """Run a recipe whole, and once more killed between two checkpoints and gone on with; bits must agree."""

    def check(recipe, *settings, kill_at=13, steps=20):
        small = [
            f"train.steps={steps}",
            "train.checkpoint_every=5",
            "evaluate=null",
            "metrics=[]",
            "scores=[]",
        ]
        changes = [word for s in (*small, *settings) for word in ("--set", s)]
        command = ["run", recipe, *changes, "--set", "sample.n=4", "--out"]
        assert main([*command, str(tmp_path / "whole")]) == 0
        step = Trainer._step

        def dies(self):
            if self.step == kill_at:
                raise Killed
            return step(self)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_step", dies)
            with pytest.raises(Killed):
                main([*command, str(tmp_path / "cut")])
        assert main([*command, str(tmp_path / "cut")]) == 0
        last = sorted((tmp_path / "whole" / "checkpoints").iterdir())[-1]
        for file in last.glob("*.safetensors"):
            wanted, found = (
                load_file(file),
                load_file(tmp_path / "cut" / "checkpoints" / last.name / file.name),
            )
            assert wanted.keys() == found.keys()
            assert all(torch.equal(value, found[name]) for name, value in wanted.items()), file.name
        return load_file(last / "flow.safetensors")

    return check


@pytest.fixture
def at_paper_scale(tmp_path):
    """The flow of a recipe for images or their latents, on the meta device."""

    def make(recipe, shape=(4, 32, 32), **sections):
        (tmp_path / "fake.py").write_text(f"SHAPE = {shape}\n{FAKE}")
        file = tmp_path / "full.yaml"
        sections = {"extends": recipe, "data": "./fake.py:Latents", **sections}
        file.write_text(json.dumps(sections))
        with torch.device("meta"):
            return build(load_recipe(str(Path(file))))

    return make


@pytest.fixture(scope="session")
def figures(tmp_path_factory):
    """What a recipe's samples and scores are, mean over the seeds 0, 1 and 2, and the floor (training
    data)."""

    def carry_out(recipe, *changes, seeds=(0, 1, 2)):
        found = []
        for seed in seeds:
            out = tmp_path_factory.mktemp("demo") / "run"
            words = [word for change in changes for word in ("--set", change)]
            assert main(["run", recipe, "--seed", str(seed), *words, "--out", str(out)]) == 0
            table = json.loads((out / "evaluation.json").read_text())
            floor = {f"floor/{k}": v for k, v in table["columns"].get("training data", {}).items()}
            scores = table["scores"].get("held-out data", {}) if table["scores"] else {}
            last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1]) if scores else {}
            found.append({**table["columns"]["samples"], **floor, **scores, "loss": last.get("loss", 0.0)})
        means = {name: sum(one[name] for one in found) / len(found) for name in found[0]}
        each = {name: "/".join(f"{one[name]:.4g}" for one in found) for name in means}
        print(
            f"\n{recipe} {' '.join(changes)}: "
            + ", ".join(f"{k} {v:.4g} ({each[k]})" for k, v in means.items())
        )
        return means

    return carry_out
