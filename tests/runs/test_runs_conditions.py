# ruff: noqa: E501  (expected messages are single lines)
"""Conditions on the command line: classes, vectors, files, and those of a held-out row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from flowloom_registry.cli import main

PLACES = """
import torch
from torch import nn
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, x, t, **cond):
        return self.inner(x)


class Places(Dataset):
    def __init__(self, n: int = 64, seed: int = 0) -> None:
        self.n, self.seed = n, seed

    @property
    def spec(self) -> Spec:
        return Spec(
            shape=(2,),
            conditions={
                "kind": Condition(3, names=("cat", "dog", "7")),
                "position": Condition(shape=(2,)),
                "past": Condition(shape=(3, 2)),
                "heat": Condition(),
                "types": Condition(2, (4,), ("C", "O")),
            },
        )

    def __len__(self) -> int:
        return self.n

    def take(self, rows):
        row = rows.float() + 1000 * self.seed
        cond = {
            "kind": rows % 3,
            "position": torch.stack([row, -row], 1),
            "past": row[:, None, None].expand(-1, 3, 2).clone(),
            "heat": row / 10,
            "types": (rows[:, None] + torch.arange(4)) % 2,
        }
        return Examples(torch.stack([row.sin(), row.cos()], 1), cond)

    def split(self, name):
        return Places(self.n, 1) if name == "test" else super().split(name)
"""
RECIPE = """
data: {use: ./places.py:Places, n: 64}
model: ./places.py:Net
solver: {use: euler, steps: 2}
sample: {n: 4, frames: 2}
train: {steps: 2, batch: 16}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    (folder / "places.py").write_text(PLACES)
    (folder / "r.yaml").write_text(RECIPE)
    assert main(["run", str(folder / "r.yaml"), "--out", str(folder / "out")]) == 0
    np.save(folder / "past.npy", np.arange(6).reshape(3, 2))
    np.savez(folder / "many.npz", past=np.ones((4, 3, 2)), position=np.array([5.0, 6.0]))
    np.savez(folder / "one.npz", whatever=np.array([5.0, 6.0]))
    (folder / "places.csv").write_text("x,y\n" + "".join(f"{i},{i + 0.5}\n" for i in range(4)))
    return folder


@pytest.fixture
def drawn(run, tmp_path, capsys, monkeypatch):
    """The conditions that a draw of four was made under, or what was said of a mistake."""
    monkeypatch.chdir(run)

    def draw(*words):
        cond = [word for one in words for word in ("--cond", one)]
        code = main(["sample", "out", "-n", "4", "--trust", "--out", str(tmp_path), *cond])
        if code:
            return capsys.readouterr().err.strip()
        tensors = load_file(tmp_path / "samples.safetensors")
        return {name.removeprefix("cond."): value for name, value in tensors.items() if name != "x"}

    return draw


def test_a_vector_is_every_examples(drawn):
    assert drawn("position=0.5,1")["position"].tolist() == [[0.5, 1.0]] * 4
    assert drawn("position=[0.5, 1]")["position"].tolist() == [[0.5, 1.0]] * 4
    assert drawn("heat=3")["heat"].tolist() == [3.0] * 4


def test_one_value_for_each_example(drawn):
    assert drawn("heat=1,2,3,4")["heat"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert drawn("kind=[0, 1, 2, 0]")["kind"].tolist() == [0, 1, 2, 0]
    assert drawn("position=[[1, 2], [3, 4], [5, 6], [7, 8]]")["position"][2].tolist() == [5.0, 6.0]


def test_classes_by_name_also_where_a_name_is_a_number(drawn):
    assert drawn("kind=dog")["kind"].tolist() == [1] * 4
    assert drawn("kind=cat,dog,7,1")["kind"].tolist() == [0, 1, 2, 1]
    assert drawn("types=C,O,O,C")["types"].tolist() == [[0, 1, 1, 0]] * 4
    assert drawn("types=O")["types"].tolist() == [[1, 1, 1, 1]] * 4


@pytest.mark.parametrize(
    ("word", "first"),
    [("past=@past.npy", [[0, 1], [2, 3], [4, 5]]), ("past=@many.npz", [[1, 1]] * 3), ("position=@one.npz", [5, 6]),
     ("position=@many.npz", [5, 6]), ("position=@places.csv", [0, 0.5])],
)  # fmt: skip
def test_values_of_a_file(drawn, word, first):
    cond = drawn(word)
    assert cond[word.partition("=")[0]][0].tolist() == first
    if "csv" in word:
        assert cond["position"][3].tolist() == [3.0, 3.5]


def test_conditions_of_a_held_out_row_and_others_over_them(drawn):
    cond = drawn("row=17", "kind=cat")
    assert cond["position"].tolist() == [[1017.0, -1017.0]] * 4
    assert cond["heat"].tolist() == pytest.approx([101.7] * 4)
    assert cond["kind"].tolist() == [0] * 4


def test_several_keep_each_other_and_what_is_not_given_is_of_held_out_rows(drawn):
    cond = drawn("kind=dog", "heat=2")
    assert cond["kind"].tolist() == [1] * 4
    assert cond["heat"].tolist() == [2.0] * 4
    assert torch.equal(cond["position"][:, 0], 1000.0 + torch.arange(4))


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("position=1,2,3", "--cond position=1,2,3: expected 2 values (shape (2,)) for an example, or 4 times as many; got 3"),
        ("position=a,b", "--cond position=a,b: expected numbers, got 'a'"),
        ("kind=cow", "--cond kind=cow: there is no class 'cow'; names: 7, cat, dog"),
        ("kind=5", "condition 'kind' = 5 is out of range; classes are 0 to 2"),
        ("kind=0.5", "--cond kind=0.5: there is no class '0.5'; "),
        ("row=64", "--cond row=64: expected one of the held-out rows, 0 to 63"),
        ("row=x", "--cond row=x: expected one of the held-out rows, 0 to 63"),
        ("past=@gone.npy", "--cond past=@gone.npy: there is no file 'gone.npy'"),
        ("past=@places.py", "--cond past=@places.py: a file of conditions ends in .npy, .npz or .csv"),
        ("heat=@many.npz", "--cond heat=@many.npz: the file has no array 'heat'; it has: past, position"),
        ("hat=1", "unknown condition 'hat'; this flow knows: kind, position, past, heat, types"),
        ("heat", "--cond heat: expected NAME=VALUE, such as label=3"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(drawn, word, line):
    assert drawn(word).startswith(line)


def test_a_condition_given_twice(drawn):
    assert drawn("heat=1", "heat=2").startswith("--cond heat=2: heat is given twice")
