"""Sequences from the command line: runs, prompts, and what is said of bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flowloom_registry.cli import main

SMALL = [
    "--device", "cpu", "--set", "train.steps=20", "--set", "train.batch=16", "--set", "evaluate.n=32",
    "--set", "evaluate.reference=64", "--set", "evaluate.sweep_nfe=[4]", "--set", "sample.n=4", "--set",
    "model.width=16", "--set", "model.depth=1",
]  # fmt: skip

FILE = "data.use=sequence-file"


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must be refused: exit code 2, one line, no traceback."""
    capsys.readouterr()
    assert main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not re.match(r"\w+ \d+/\d+  ", line)]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a small text."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "song.txt").write_text("row row row your boat gently down the stream\n" * 200)
    out = folder / "run"
    data = ["--set", f"data.file={folder / 'song.txt'}", "--set", "data.length=16"]
    metrics = ["--set", "metrics=[{use: judge-perplexity, kind: trigram}, ngram-distance]"]
    assert main(["run", "text-characters", "--out", str(out), *SMALL, *data, *metrics]) == 0
    return out


def test_a_text_run_reports_perplexities_and_text(run):
    samples = json.loads((run / "evaluation.json").read_text())["columns"]["samples"]
    assert samples["real_perplexity"] < samples["judge_perplexity"]
    assert {"trigram_perplexity", "js_2"} <= set(samples)
    assert "From source to data" in (run / "report.html").read_text()


def test_infilling_from_the_command_line(run, capsys):
    assert main(["task", str(run), "infill", "row ___ y", "-n", "3", "--seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = "\n".join(lines)
    assert len(re.findall(r"^row .{3} y", text, re.M | re.S)) == 3
    x = load_file(run / "samples" / "infill" / "answers.safetensors")
    assert x["x"].shape == (3, 16)
    assert x["cond.prompt_mask"].sum() == 3 * 6
    assert b"underline" in (run / "samples" / "infill" / "sequences.html").read_bytes()
    # Another hole, so that the underscore could be a letter.
    assert main(["task", str(run), "infill", "row ?", "-n", "1", "--set", "hole='?'"]) == 0
    assert "row " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["infill", "ROW"], "the prompt: character 'R' at position 0 is not in the alphabet"),
        (["infill", "row " * 5], "the prompt has 20 tokens, more than the 16 of this run"),
        (["infil", "row"], "did you mean 'infill'?"),
        (["infill", "row", "-n", "0"], "a whole number from 1 is wanted, got '0'"),
        (["infill", "row", "--set", "hole=ab"], "hole is one character, got 'ab'"),
        (["infill", "row", "--cond", "label=1"], "label"),
    ],
)
def test_bad_prompts(run, capsys, words, says):
    assert says in refused(["task", str(run), *words], capsys)


def test_prompts_are_for_sequences(tmp_path, capsys):
    tiny = ["--set", "train.steps=2", "--set", "metrics=null", "--device", "cpu"]
    assert main(["run", "eight-gaussians", "--out", str(tmp_path / "run"), *tiny]) == 0
    assert "no vocabulary" in refused(["task", str(tmp_path / "run"), "infill", "ab"], capsys)


def test_a_run_refuses_text_of_another_vocabulary(run, capsys):
    song = run.parent / "song.txt"
    before = song.read_text()
    try:
        # As many characters, so that only the names of the tokens tell.
        song.write_text(before.replace("w", "k"))
        line = refused(["task", str(run), "infill", "ro"], capsys)
    finally:
        song.write_text(before)
    assert re.search(r"the data is not what .* was trained on: tokens\[\d+\] was '\w' and is '\w'", line)


def test_sequences_of_different_lengths(tmp_path, capsys):
    generator = torch.Generator().manual_seed(0)
    records = []
    for i in range(60):
        size = int(torch.randint(5, 13, (), generator=generator))
        letters = "".join("acgT"[int(j)] for j in torch.randint(4, (size,), generator=generator))
        records.append(f">s{i} label={'even' if i % 2 == 0 else 'odd'}\n{letters[:4]}\n{letters[4:]}\n")
    fasta = tmp_path / "some.fasta"
    fasta.write_text("".join(records))
    data = ["--set", f"data={{use: sequence-file, file: {fasta}}}", "--set", "metrics=[ngram-distance]"]
    out = tmp_path / "run"
    network = ["--set", "model={use: dilated-cnn, width: 8, stacks: 1}"]
    assert main(["run", "dna-guided", "--out", str(out), *data, *network, *SMALL[:-4]]) == 0
    assert main(["sample", str(out), "-n", "6", "--cond", "label=odd"]) == 0
    states = load_file(out / "samples" / "drawn" / "samples.safetensors")
    assert states["x"].shape == (6, 12)
    assert (states["cond.label"] == 1).all()
    # Lengths come from the data, as nothing else knows them.
    sizes = states["cond.mask"].sum(1)
    assert 5 <= int(sizes.min()) < int(sizes.max()) <= 12


def test_a_student_of_a_run_takes_one_step(tmp_path, capsys):
    few = [
        "--device",
        "cpu",
        "--set",
        "evaluate.n=64",
        "--set",
        "evaluate.reference=64",
        "--set",
        "sample.n=4",
    ]
    tiny = ["--set", "data.n=500", "--set", "train.steps=30", "--set", "model.width=16", *few]
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    assert main(["run", "dirichlet-toy", "--out", str(teacher), *tiny, "--set", "data.vocab=5"]) == 0
    words = ["run", "dirichlet-toy", "--with", "one-step", "--out", str(student), *tiny]
    assert main([*words, "--set", f"data.folder={teacher}"]) == 0
    result = json.loads((student / "evaluation.json").read_text())
    assert result["nfe"] == 1
    assert {"samples", "training data"} <= set(result["columns"])
    assert main(["sample", str(student), "-n", "5"]) == 0
    assert load_file(student / "samples" / "drawn" / "samples.safetensors")["x"].shape == (5, 4)
    missing = refused([*words[:4], "--out", str(tmp_path / "x"), "--set", "data.folder=nowhere"], capsys)
    assert "there is no run nowhere" in missing


@pytest.mark.parametrize(
    ("name", "content", "more", "says"),
    [
        ("a.txt", b"caf\xe9 " * 500, [], "is not UTF-8: byte 0xe9 at offset 3"),
        ("a.txt", b"", [], "is empty"),
        ("a.txt", b"short", [], "shorter than one window of 128"),
        ("a.fa", b">x\nACGTNN\n", [FILE], "letter 'N' at position 4 stands for any of ACGT"),
        ("a.fa", b"\n\n", [FILE], "holds no sequences, only empty lines"),
        ("a.fa", b">x\nACGU\n", [FILE], "character 'U' at position 3 is not in the alphabet"),
        ("a.fa", b"ACGTACGT\n", [FILE, "data.length=4"], "line 1 has 8 letters, more than length 4"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path, capsys, name, content, more, says):
    (tmp_path / name).write_bytes(content)
    use = [w for word in more for w in ("--set", word)]
    words = ["run", "text-characters", "--out", str(tmp_path / "run"), *use]
    line = refused([*words, "--set", f"data.file={tmp_path / name}"], capsys)
    assert says in line
    assert not (tmp_path / "run").exists()
