"""Claims: what is refused, how they are decided, and what is kept of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flowloom_registry import load_recipe
from flowloom_registry.cli import main
from flowloom_registry.errors import ConfigError, UnknownComponentError
from flowloom_registry.plugins.discovery import catalog
from flowloom_registry.studies.claim import Claim, claims_of, decide
from flowloom_registry.studies.ledger import Ledger
from flowloom_registry.studies.systems import system_of_paper, systems
from flowloom_registry.studies.verify import find_claims, require_claims, verify

CLAIMING = """
extends: base.yaml
paper: "2304.14772"
claim:
  - metric: energy_distance
    of: {coupling: optimal-transport}
    over: {coupling: independent}
    most: 1000
    seeds: 2
  - metric: evaluations
    of: {solver: {steps: 6}}
    most: 5
    seeds: [4]
  - metric: energy_distance
    over: {column: training data}
    as: difference
    least: -1000
    seeds: 1
"""


def claim(write, words: str) -> Claim:
    file = write(f"extends: base.yaml\nclaim: [{words}]\n", "one.yaml")
    (found,) = claims_of(load_recipe(file), str(file))
    return found


RATIO = "{metric: m, of: {train: {steps: 1}}, over: {train: {steps: 2}}, most: 0.5"


@pytest.mark.parametrize(
    ("more", "of", "over", "answer"),
    [
        ("", [0.1, 0.12, 0.11], [1.0, 1.1, 0.9], "holds"),
        ("", [0.9, 0.92, 0.91], [1.0, 1.1, 0.9], "does not hold"),
        ("", [0.1, 0.12], [1.0, 1.1], "not decided"),  # too few seeds
        ("", [0.1, 0.2, 0.9], [1.0, 1.0, 1.0], "not decided"),  # the deviation is larger than the gap
        ("", [0.1, None, 0.1], [1.0, 1.0, 1.0], "not decided"),  # a seed without a value
        ("", [0.1, float("nan"), 0.1], [1.0, 1.0, 1.0], "not decided"),
        ("", [0.1, 0.1, 0.1], [0.0, 1.0, 1.0], "not decided"),  # no ratio to zero
        (", as: difference", [0.1, 0.1, 0.1], [0.0, 0.0, 0.0], "holds"),
        (", as: difference", [1.1, 1.2, 1.1], [0.0, 0.1, 0.0], "does not hold"),
        (", from: 1", [0.99, 0.98, 0.99], [0.9, 0.9, 0.9], "holds"),
        (", each: true", [0.1, 0.1, 0.52, 0.1, 0.1, 0.1], [1.0] * 6, "does not hold"),
        ("", [0.1, 0.1, 0.52, 0.1, 0.1, 0.1], [1.0] * 6, "holds"),
    ],
)
def test_three_answers(write, more, of, over, answer) -> None:
    assert decide(claim(write, f"{RATIO}{more}}}"), of, over).answer == answer


def test_least_is_the_other_way_and_the_worst_seed_too(write) -> None:
    one = claim(write, "{metric: m, least: 2}")
    found = decide(one, [2.5, 3.0, 2.9])
    assert (found.answer, found.worst) == ("holds", 2.5)
    assert found.value == pytest.approx(2.8)
    assert decide(one, [1.5, 1.4, 1.6]).answer == "does not hold"


REFUSED = {
    "{of: {solver: heun}, most: 1}": "claim[0].metric: a claim is about a metric: 'metric: energy_distance'",
    "{metric: m}": "claim[0]: a claim without a limit cannot fail; give one of 'most:' and 'least:'",
    "{metric: m, most: 1, least: 0}": "claim[0]: a claim has one limit; give one of 'most:' and 'least:'",
    "{metric: m, most: .inf}": "claim[0].most: expected a finite number, got inf (float)",
    "{metric: m, over: {}, of: {}, most: 1}": "claim[0].over: both arms are the same, so it cannot fail",
    "{metric: m, over: base.yaml, of: {recipe: base.yaml}, most: 1}": "both arms are the same, so it cannot",
    "{metric: m, as: difference, most: 1}": "claim[0].as: a difference is of two arms; add 'over:'",
    "{metric: m, most: 1, seeds: 0}": "claim[0].seeds: expected a number of seeds, at most 1000, or a list",
    "{metric: m, most: 1, seeds: 10000000000}": "claim[0].seeds: expected a number of seeds, at most 1000",
    "{metric: m, most: 1, seeds: [0, 0, 0]}": "claim[0].seeds: a seed stands there twice, and is one figure",
    "{metric: m, most: 1, seeds: [1, a]}": "claim[0].seeds: expected a number of seeds",
    "{metrik: m, most: 1}": "claim[0].metrik: a claim has no key 'metrik'; did you mean 'metric'?",
    "{metric: m, most: 1, of: {seed: 3}}": "claim[0].of.seed: an arm has no seed of its own; write 'seeds",
    "{metric: m, most: 1, system: meanflw}": "'meanflw' is none of them; did you mean 'meanflow'?",
    "{metric: m, most: 1, of: {solvr: euler}}": "claim[0].of.solvr: a recipe has no section 'solvr'; did you",
    "{metric: m, most: 1, of: {column: trained}}": "claim[0].of.column: 'trained' is none of them",
    "word": "claim[0]: expected a mapping (says, system, metric, of",
}


@pytest.mark.parametrize("words", list(REFUSED))
def test_a_claim_that_says_nothing_is_refused_with_its_place(write, words) -> None:
    with pytest.raises(ConfigError) as caught:
        claim(write, words)
    lines = [str(problem) for problem in caught.value.problems]
    assert any(REFUSED[words] in line and ":2:" in line for line in lines), lines


def test_an_unknown_system_is_told_without_all_that_there_are(write) -> None:
    with pytest.raises(ConfigError, match=r"'mine' is none of them; .*known: .* and [0-9]+ more"):
        claim(write, "{metric: m, most: 1, system: mine}")


def test_unknown_metrics_are_told_before_anything_trains(write, capsys) -> None:
    file = write("extends: base.yaml\nclaim: [{metric: energy_distence, most: 1}]\n")
    assert main(["verify", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "study.yaml:2:18: claim.metric: " in line
    assert "no value named 'energy_distence'; did you mean 'energy_distance'?" in line
    assert not Path("claims").exists()


@pytest.mark.parametrize(
    "arms",
    [
        "of: {train: {steps: 4}}, over: {}",
        "of: {solver: {steps: 2}}, over: base.yaml",
        "of: {name: a}, over: {}",
    ],
)
def test_arms_that_are_one_run_in_other_words_are_refused(write, arms, capsys) -> None:
    file = write(f"extends: base.yaml\nclaim: [{{metric: energy_distance, most: 2, {arms}}}]\n")
    assert main(["verify", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "study.yaml:2:9: claim.over: both arms are the same, so it cannot fail" in line
    assert not Path("claims").exists()


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_claims_are_run_decided_and_written_down(write, jobs, capsys) -> None:
    file = write(CLAIMING)
    assert main(["verify", str(file), "--jobs", jobs]) == 1  # six steps are twelve evaluations, not five
    # As they are decided; by where they stand in the recipe: a ratio, a value, a difference.
    lines = capsys.readouterr().out.splitlines()[:3]
    first, second, third = (
        next(x for x in lines if word in x) for word in ("1000: h", "(solver", ">= -1000")
    )
    assert "(coupling optimal-transport) / (coupling independent) <= 1000: holds: " in first
    assert "seeds 0, 1" in first
    assert "evaluations (solver steps 6) <= 5: does not hold: 6; worst 6; seeds 4" in second
    assert "energy_distance (study) - (study, training data) >= -1000: holds" in third
    # What differs in the solver alone is asked of the same run.
    cells = sorted(path.name for path in Path("claims/cells").iterdir())
    assert sorted(name.rpartition("_")[2] for name in cells) == [
        "seed0", "seed0", "seed0", "seed1", "seed1", "seed4"
    ]  # fmt: skip
    assert all(re.fullmatch(r"eight-gaussians-mlp-[0-9a-f]{8}_seed\d", name) for name in cells)
    page = Path("claims/systems.md").read_text()
    assert page.count("\n| `") == len(systems()) == 119
    assert main(["verify", str(file)]) == 1
    again = capsys.readouterr()
    assert "finished" not in again.err  # it was all there
    assert again.out.endswith("systems.md (of installed recipes alone; verdicts of a file stand above)\n")
    assert main(["verify", str(file), "--seeds", "0-1"]) == 1
    assert "(nothing of --seeds is kept" in capsys.readouterr().out


OF_A_TASK = """
extends: base.yaml
tasks: [{use: inpaint, metrics: [mse]}]
evaluate: {questions: 4}
claim:
  - metric: inpaint/mse
    least: 0
    seeds: 1
  - metric: inpaint/mse
    of: {column: baseline}
    least: 0
    seeds: 1
"""


def test_a_claim_may_be_about_what_a_task_answers(write, capsys) -> None:
    first, second = verify(find_claims([str(write(OF_A_TASK))]), Path("out"))
    (run,) = Path("out/cells").iterdir()
    columns = json.loads((run / "evaluation.json").read_text())["tasks"]["inpaint"]["columns"]
    assert first.verdict.of == (columns["samples"]["mse"],)
    assert second.verdict.of == (columns["Gaussian"]["mse"],)
    file = write(OF_A_TASK.replace("metric: inpaint/mse", "metric: inpaint/msse", 1))
    assert main(["verify", str(file)]) == 2
    assert "no value named 'inpaint/msse'; did you mean 'inpaint/mse'?" in capsys.readouterr().err


def test_other_seeds_and_too_few(write) -> None:
    claims = find_claims([str(write(CLAIMING))])
    found = verify(claims, Path("out"), seeds=[5])
    assert [one.verdict.answer for one in found] == ["not decided", "does not hold", "holds"]
    assert found[0].verdict.why == "1 of 2 seeds"
    assert all(one.seeds == (5,) for one in found)


def test_the_ledger_keeps_verdicts_until_the_recipe_changes(write, tmp_path) -> None:
    file = write(CLAIMING)
    claims = find_claims([str(file)])
    found = verify(claims[1:2], Path("out"))
    page = tmp_path / "docs" / "systems.md"
    Ledger(page, claims, catalog()).write(found)
    row = next(line for line in page.read_text().splitlines() if line.startswith("| `multisample-fm`"))
    assert len(re.findall(r"\bopen\b", row)) == 2
    assert "**does not hold**: 6; worst 6; seeds 4" in row
    ledger = Ledger(page, claims, catalog())
    ledger.write([])
    assert "does not hold" in page.read_text()
    assert ledger.open(claims) == [claims[0], claims[2]]
    assert all(seconds > 0 for seconds in ledger.seconds().values())
    write(
        CLAIMING.replace("steps: 6", "steps: 6, churn: 0").replace(", churn: 0", "") + "model: {width: 9}\n"
    )
    Ledger(page, find_claims([str(file)]), catalog()).write([])
    assert "does not hold" not in page.read_text()
    assert json.loads(page.with_suffix(".json").read_text())["verdicts"] == {}


def test_systems_are_known_by_their_papers() -> None:
    assert len(systems()) == 119
    assert system_of_paper("2210.02747") == "flow-matching"
    assert system_of_paper("") == ""


def test_what_is_no_system_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownComponentError, match="did you mean 'meanflow'"):
        find_claims(["meanflo"])


def test_every_shipped_claim_can_be_read_and_its_arms_bound() -> None:
    """Of what is installed: no claim is refused, and each is that of a known system."""
    claims = find_claims()
    assert claims
    # Guidance of a kind that no system is named for has no system.
    assert {claim.system for claim in claims} - {""} <= set(systems())
    assert {claim.recipe.split(":")[0] for claim in claims if not claim.system} <= {"guidance"}
    assert require_claims(claims).cells  # every arm is built, and has the metric


def test_a_claim_may_be_of_a_recipe_with_stages(tmp_path):
    """Its arms are laid under the stages; they are built one on another, and share no run."""
    file = tmp_path / "staged.yaml"
    file.write_text(
        "data: {use: eight-gaussians, n: 64, labelled: false}\n"
        "model: {use: mlp, width: 8, depth: 1}\nmetrics: [energy-distance]\ntrain: {steps: 2, batch: 8}\n"
        "stages:\n  - {name: base}\n  - {name: more, model: {run: base, frozen: false}}\n"
        "claim:\n  - {says: it is, metric: energy_distance, over: {train: {steps: 1}}, most: 2}\n"
        "  - {says: so, metric: energy_distance, over: {solver: {use: euler, steps: 1}}, most: 2}\n"
    )
    claims = find_claims([str(file)])
    cells = require_claims(claims).cells
    assert len(cells) == 9
    assert not any(cell.trains for cell in cells)
    file.write_text(
        file.read_text().replace("metric: energy_distance, over: {solver", "metric: nix, over: {solver")
    )
    with pytest.raises(ConfigError, match="nix"):
        require_claims(find_claims([str(file)]))


@pytest.mark.slow
def test_arms_that_are_alike_share_a_run_whichever_recipes_they_are_of(write, capsys) -> None:
    of = "metric: energy_distance, most: 1000, seeds: 1"
    one = write(
        f"extends: base.yaml\nclaim: {{{of}, of: {{coupling: stable}}, over: base.yaml}}\n", "one.yaml"
    )
    other = write(
        f"extends: base.yaml\nclaim:\n  - {{{of}, over: {{column: training data}}, as: difference}}\n"
        f"  - {{{of}, of: {{solver: {{steps: 3}}}}, over: {{}}}}\n",
        "other.yaml",
    )
    assert main(["verify", str(other)]) == 0
    first = {path: path.stat().st_mtime_ns for path in Path("claims").rglob("*.*") if "/cells/" in str(path)}
    capsys.readouterr()
    assert main(["verify", str(one), str(other)]) == 0
    told = capsys.readouterr().err
    assert "3 cells, 1 to carry out" in told
    assert "one, coupling stable · seed 0: finished" in told
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert len(list(Path("claims/cells").iterdir())) == 2


def test_verdicts_are_told_and_written_as_soon_as_they_are_there(write) -> None:
    told: list[tuple[str, int]] = []
    claims = find_claims([str(write(CLAIMING))])
    verify(claims, Path("out"), told=lambda one: told.append(
        (one.claim.metric, len(list(Path("out/states").iterdir())))
    ))  # fmt: skip
    assert [name for name, _ in told] == [claim.metric for claim in claims]
    assert told[0][1] < told[1][1] < told[2][1]


@pytest.mark.slow
def test_how_long_it_will_take_is_told_at_the_start(write, capsys) -> None:
    file = write(CLAIMING)
    claims = find_claims([str(file)])
    page = Path("page.md")
    decided = verify(claims, Path("first"))
    assert "6 cells, 6 to carry out\n" in capsys.readouterr().err
    ledger = Ledger(page, claims, catalog())
    ledger.write(decided)
    verify(claims, Path("second"), seconds=ledger.seconds())
    err = capsys.readouterr().err
    assert re.search(r"6 cells, 6 to carry out; about [\d.]+\ss, as long as the last time\n", err)
    assert ledger.open(claims) == []


@pytest.mark.slow
def test_data_that_are_not_here_stop_no_other_claim(write, capsys) -> None:
    write("""
from flowloom.data import Dataset
from flowloom.errors import DataError

class Away(Dataset):
    spec = None
    def split(self, name): return self
    def __init__(self): raise DataError("could not download it")
    def __len__(self): return 0
    def take(self, rows): raise NotImplementedError
""", "away.py")  # fmt: skip
    away = write("extends: base.yaml\ndata: null\nclaim: [{metric: energy_distance, most: 1000, seeds: 1,\n"
                 "  of: {data: {use: './away.py:Away'}}}]\n", "away.yaml")  # fmt: skip
    assert main(["verify", str(away), str(write(CLAIMING))]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "not decided: " in lines[0]
    assert "could not download it" in lines[0]
    assert [line.rpartition(" study")[0] != "" for line in lines[1:4]]
    assert "holds" in lines[1]


def test_one_evaluation_is_told_as_one() -> None:
    from flowloom_registry.studies.verify import _cost

    assert _cost(0.125, 1.0) == ["0.125 s of training", "1 evaluation"]
    assert _cost(None, 20.0) == ["20 evaluations"]
