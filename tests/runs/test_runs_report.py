"""``report.html`` of a run: what it shows, that it is made from files alone, also where they are damaged."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from flowloom_registry.cli import main
from flowloom_registry.durations import duration
from flowloom_registry.runs.verdict import standing, verdict
from flowloom_registry.runs.written import marked_lines

HOSTILE = "<script>alert(1)</script>"
RECIPE = f"""
# what its author says
name: "rings & {HOSTILE.replace("/", "")}"
summary: "{HOSTILE}"
data: eight-gaussians
model: {{use: mlp, width: 16, depth: 1}}
solver: {{use: midpoint, steps: 2}}
metrics: [energy-distance, sliced-wasserstein]
renderer: scatter
train: {{steps: 12, batch: 32, log_every: 2}}
evaluate: {{n: 60, reference: 80, sweep_n: 20, sweep_nfe: [2, 4]}}
sample: {{n: 12, frames: 3, rows: 2}}
"""


class Text(HTMLParser):
    """The words of a page, and its tags."""

    def __init__(self, text):
        super().__init__()
        self.words, self.tags = "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += f" {data} "


def read(run):
    return Text((run / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "r.yaml").write_text(RECIPE)
    words = ["run", str(folder / "r.yaml"), "--out", str(folder / "run"), "--device", "cpu", "--quiet"]
    assert main(words) == 0
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_above_the_fold_stand_pictures_a_verdict_facts_and_the_command(finished):
    head = (finished / "report.html").read_text().split("<nav")[0]
    assert head.count("data:image/png") == 2, "samples beside real ones"
    words = " ".join(Text(head.partition("</head>")[2]).words.split())
    assert re.search(r"The samples are (better|as good).* on (all|both|none|\d).*energy distance is ", words)
    environment = json.loads((finished / "environment.json").read_text())
    parameters = environment["parameters"]
    assert f"parameters {parameters:,} " in words
    assert parameters > 100
    for fact in (
        "steps 12",
        "evaluations a sample 4",
        "seed 0",
        "training ",
        f"date {environment['date'][:10]}",
    ):
        assert fact in words
    assert "flowloom run" in words
    assert "--out" in words, "the command that makes it again"


def test_the_table_marks_the_better_says_what_metrics_mean_and_sorts(finished):
    page = read(finished)
    columns = json.loads((finished / "evaluation.json").read_text())["columns"]
    best = [attrs for tag, attrs in page.tags if tag == "td" and attrs.get("class") == "best"]
    differing = [n for n in columns["samples"] if columns["samples"][n] != columns["Gaussian"][n]]
    assert len(best) == len(differing) == 2
    hints = [a.get("title", "") for tag, a in page.tags if tag == "th" and a.get("scope") == "row"]
    assert any("farther samples are from real" in h and "(lower is better)" in h for h in hints)
    assert sum("sorts" in a.get("class", "") for tag, a in page.tags if tag == "th") >= 4


def test_facts_that_pages_and_studies_read_are_in_the_files(finished):
    evaluation = json.loads((finished / "evaluation.json").read_text())
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert evaluation["parameters"] == json.loads((finished / "environment.json").read_text())["parameters"]
    assert 0 < evaluation["train_seconds"] == lines[-1]["seconds"]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    assert set(evaluation["meaning"]) == {"energy_distance", "sliced_wasserstein"}


def test_hostile_names_are_shown_and_not_run(finished):
    page = read(finished)
    assert HOSTILE not in (finished / "report.html").read_text()
    assert HOSTILE in page.words


def test_every_logged_part_every_solver_and_every_time_are_there(finished):
    text = (finished / "report.html").read_text()
    data = [json.loads(d) for d in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    labels = {line["label"] for one in data for line in one["lines"]}
    assert {"loss", "lr", "grad_norm", "euler", "midpoint", "heun", "this recipe", "training data"} <= labels
    steps = next(one for one in data if one["lines"][0]["label"] == "loss")
    assert steps["x"] == [2, 4, 6, 8, 10, 12]
    assert text.count('data-label="t = ') == 3, "two midpoint steps have three states"


def test_the_recipe_is_the_authors_and_the_resolved_one_marks_his_lines(finished):
    assert (finished / "written.yaml").read_text() == RECIPE
    page = read(finished)
    assert "# what its author says" in page.words
    resolved = (finished / "recipe.yaml").read_text()
    lines = resolved.splitlines()
    marked = {lines[i - 1].strip() for i in marked_lines(RECIPE, resolved)}
    assert {"use: core:mlp", "width: 16", "depth: 1", "steps: 12"} <= marked
    assert not any(line.startswith(("checkpoint_every", "projections")) for line in marked)


def test_a_report_is_made_again_from_the_files_alone(run, capsys):
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    shutil.rmtree(run / "checkpoints")
    (run / "flow.safetensors").write_bytes(b"not read")
    assert main(["report", str(run)]) == 0
    assert f"report: {run / 'report.html'}" in capsys.readouterr().out
    after = (run / "report.html").read_text()
    same = [m.split("<h3>Files", 1)[0].split("<nav", 1)[1] for m in (before.decode(), after)]
    # The place of the run is named in the lines that sample from it.
    assert same[0].partition("Sample from it</h2>")[0] == same[1].partition("Sample from it</h2>")[0]


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("evaluation.json", "Gaussian → training data"),
        ("environment.json", "machine and versions"),
        ("samples/pictures.json", "real, held out"),
        ("samples/figures.json", "Figures that are not there"),
        ("recipe.yaml", "with defaults,"),
        ("data.json", "--cond label="),
    ],
)
@pytest.mark.parametrize("damage", [b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_file_costs_a_line_and_not_the_report(run, capsys, name, gone, damage):
    (run / name).write_bytes(damage)
    assert main(["report", str(run)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ")
    assert name.rpartition("/")[2] in line
    words = read(run).words
    assert "does without it" in words
    assert gone not in words


def test_no_run_is_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unfinished_run_has_a_report_too(run):
    for name in ("evaluation.json", "report.html"):
        (run / name).unlink()
    shutil.rmtree(run / "samples")
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"state": "training", "step": 6}))
    assert main(["report", str(run)]) == 0
    assert (
        "state  training" in " ".join(read(run).words.split("\n")).replace("   ", "  ")
        or "training" in read(run).words
    )


def test_tasks_stand_asked_answered_and_true_side_by_side(run):
    file = run / "evaluation.json"
    table = {"columns": {"samples": {"psnr": 21.0}, "Gaussian": {"psnr": 12.5}}, "better": {"psnr": "higher"}}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tasks": {"inpaint": table}}))
    listed = json.loads((run / "samples/figures.json").read_text())["figures"][0]
    figure = {name: listed[name] for name in ("file", "mime", "caption")} | {
        "title": "asked, answered, truth"
    }
    (run / "samples/tasks.json").write_text(json.dumps({"inpaint": {"answers": None, "figures": [figure]}}))
    assert main(["report", str(run)]) == 0
    section = (run / "report.html").read_text().split('<section id="tasks">')[1].split("</section>")[0]
    assert section.index("asked") < section.index("answered") < section.index("truth")
    assert section.count("data:image/") == 1
    assert "psnr ↑" in section
    assert "(better)" in section


@pytest.mark.parametrize(
    ("value", "floor", "baseline", "place"),
    [(3.0, 1.0, 5.0, 0.5), (1.0, 1.0, 5.0, 1.0), (6.0, 1.0, 5.0, -0.25)],
)
def test_the_way_from_baseline_to_floor(value, floor, baseline, place):
    assert standing(value, floor, baseline) == place
    assert standing(-value, -floor, -baseline) == place
    assert standing(value, floor, floor) is None
    assert standing(None, floor, baseline) is None


def test_the_verdict_is_as_bad_as_the_numbers():
    names = {"samples": "samples", "floor": "training data", "baseline": "Gaussian"}
    better = {"fid": "lower", "recall": "higher"}
    columns = {"samples": {"fid": 9.0, "recall": 0.1}, "Gaussian": {"fid": 4.0, "recall": 0.5}}
    bad = verdict({"columns": columns, "better": better}, **names)
    assert bad == "The samples are better than the Gaussian on none of 2 measures; fid is 9 (Gaussian 4)."
    columns["samples"] = {"fid": 1.0, "recall": 0.9}
    columns["training data"] = {"fid": 1.0, "recall": 0.95}
    good = verdict({"columns": columns, "better": better}, **names)
    assert good.startswith(
        "The samples are better than the Gaussian on both measures and as good as training data on 1 of 2"
    )
    one = {"columns": {"samples": {"fid": 2.0}, "training data": {"fid": 1.0}}, "better": better}
    assert (
        verdict(one, **names) == "The samples are not as good as training data; fid is 2 (training data 1)."
    )
    assert verdict({}, **names) == ""


def test_durations_as_people_say_them():
    told = [duration(s) for s in (0.0361, 9.96, 48.4, 59.9, 200, 7500, 3600 * 12345.0)]
    assert told == ["0.036 s", "10 s", "48 s", "1 min 00 s", "3 min 20 s", "2 h 05 min", "12,345 h"]


def test_the_run_says_what_it_will_do_and_what_comes_next(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run"), "--steps", "3"]) == 0
    err = capsys.readouterr().err
    for line in (
        r"data +EightGaussians, .* rows of 2",
        r"network +MLP, [\d,]+ parameters",
        r"training +FlowMatching, 3 steps of 32",
    ):
        assert re.search(line, err), line
    assert f"flowloom report {tmp_path / 'run'} --open" in err
    assert f"flowloom sample {tmp_path / 'run'}" in err
    command = json.loads((tmp_path / "run/environment.json").read_text())["command"]
    assert command.startswith("flowloom run ")
    assert "--steps 3" in command
    page, drawn = tmp_path / "run/report.html", tmp_path / "run/samples/samples.safetensors"
    assert "Sample from it" in page.read_text()
    drawn.unlink()  # as of a coder, which draws nothing
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "Sample from it" not in page.read_text()
    assert "flow.safetensors" in page.read_text()


def test_a_curve_of_one_point_is_a_dot(run):
    file = run / "metrics.jsonl"
    file.write_text(file.read_text().splitlines(keepends=True)[-1])
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert '"label":"loss","style":"dots"' in page
    assert "Looks at held-out data are dots" not in page


def test_without_a_browser_it_is_said(run, capsys, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    assert main(["report", str(run), "--open"]) == 0
    assert "no browser is found here" in capsys.readouterr().err


def test_quiet_says_only_results(run, capsys):
    assert main(["run", str(run), "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "report: " in out


def test_help_has_examples(capsys):
    for command in ("run", "sample", "eval", "report"):
        assert main([command, "--help"]) == 0
        assert f"examples:\n  flowloom {command} " in capsys.readouterr().out
