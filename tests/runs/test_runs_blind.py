"""Two runs side by side without names: the same questions on both sides, mixed up, and counted right."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from flowloom.errors import RunError
from flowloom_registry.cli import main
from flowloom_registry.runs.blind import blind_page, blind_pairs

pytest.importorskip("flowloom_images")

RECIPE = """
data: {use: digits}
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
renderer: image-grid
evaluate: {n: 20, reference: 40, sweep_nfe: []}
sample: {n: 6, frames: 2, rows: 2}
train: {steps: STEPS, batch: 8}
"""
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("blind")
    for name, steps in (("a", "2"), ("b", "6")):
        (folder / f"{name}.yaml").write_text(RECIPE.replace("STEPS", steps))
        assert (
            main(["run", str(folder / f"{name}.yaml"), "--out", str(folder / name), "--device", "cpu"]) == 0
        )
    return folder


def test_both_answer_the_same_and_sides_are_mixed(two: Path) -> None:
    here = torch.device("cpu")
    pairs = blind_pairs(two / "a", two / "b", 16, seed=3, device=here)
    assert {pair.swapped for pair in pairs} == {True, False}
    assert [pair.asked for pair in pairs][:2] == ["0", "0"]  # classes are spread, and have names
    alone = blind_pairs(two / "a", two / "a", 16, seed=3, device=here)
    assert all(pair.sides[0].data == pair.sides[1].data for pair in alone)
    of_a = [pair.sides[1 if pair.swapped else 0].data for pair in pairs]
    assert of_a == [pair.sides[0].data for pair in alone]
    assert all(pair.sides[0].data != pair.sides[1].data for pair in pairs)
    other = blind_pairs(two / "a", two / "b", 16, seed=4, device=here)
    assert [p.swapped for p in other] != [p.swapped for p in pairs]


def test_the_page_names_nobody_until_it_is_asked(two: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / "listen.html"
    words = ["compare", str(two / "a"), str(two / "b"), "--blind", str(file), "-n", "4", "--device", "cpu"]
    assert main(words) == 0
    assert f"4 pairs: {file}" in capsys.readouterr().out
    page = file.read_text()
    assert page.count('class="choice"') == 4
    outside = re.sub(r'data-names="[^"]*"|<script>.*?</script>', "", page, flags=re.S)
    assert str(two / "a") not in outside
    assert 'src="http' not in page


def test_mistakes_are_one_line(two: Path, tmp_path: Path, capsys) -> None:
    plane = two / "plane"
    recipe = RECIPE.replace("STEPS", "2").replace("{use: digits}", "eight-gaussians")
    (two / "plane.yaml").write_text(recipe.replace("image-grid", "scatter"))
    assert main(["run", str(two / "plane.yaml"), "--out", str(plane), "--device", "cpu"]) == 0
    capsys.readouterr()
    for words, said in (
        ([two / "a", plane], "are of different data"),
        ([plane, plane], "shows no example by itself"),
        ([two / "a"], "--blind wants two runs, got 1"),
        ([two / "a", two / "nosuch"], "nosuch"),
    ):
        assert (
            main(["compare", *map(str, words), "--blind", str(tmp_path / "x.html"), "--device", "cpu"]) == 2
        )
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    assert main(["compare", str(two / "a"), str(two / "b"), "--blind", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(RunError, match="count from 1"):
        blind_pairs(two / "a", two / "b", 0, device=torch.device("cpu"))


VISIT = """<script>
addEventListener("load", () => setTimeout(() => {
  const seen = {before: document.querySelector(".told").textContent};
  document.querySelectorAll(".choice").forEach((pair, i) => {
    const left = pair.dataset.swapped === "1" ? "right" : "left"; // the first run, wherever it is
    const word = i < 5 ? left : "neither";
    [...pair.querySelectorAll("button")].find((b) => b.textContent === word).click();
  });
  seen.after = document.querySelector(".told").textContent;
  seen.labels = [...document.querySelectorAll(".choice")].map((pair) => {
    const j = pair.dataset.swapped === "1" ? 1 : 0;
    return pair.querySelectorAll(".side .label")[j].textContent;
  });
  document.body.textContent = "SEEN" + JSON.stringify(seen) + "SEEN";
}, 300));
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_choices_are_counted_for_whose_they_are(two: Path, tmp_path: Path) -> None:
    pairs = blind_pairs(two / "a", two / "b", 6, seed=1, device=torch.device("cpu"))
    file = tmp_path / "visited.html"
    file.write_text(blind_page(pairs, ("ours", "theirs")).replace("</head>", VISIT + "</head>", 1))
    words = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    shown = subprocess.run(words, capture_output=True, text=True, timeout=180, check=True).stdout
    found = re.search(r"SEEN(\{.*\})SEEN", shown, re.S)
    assert found, shown[-2000:]
    seen = json.loads(found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert seen["before"] == "6 of 6 to go"
    # Five of five by a fair coin, either way: 2 / 32.
    assert seen["after"] == "ours: 5, theirs: 0, neither: 1; sign test p = 0.063"
    assert set(seen["labels"]) == {"ours"}
