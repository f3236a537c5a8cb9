"""From a recipe to a sound file, and what is refused on the way."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest
import soundfile
import torch

from flowloom_registry.cli import main

SHORT = (
    "train.steps=2",
    "train.batch=4",
    "data.takes=3",
    "data.voices=2",
    "model.width=16",
    "model.depth=1",
    "model.heads=2",
    "codec.iterations=2",
    "solver.steps=1",
    "evaluate.n=4",
    "evaluate.reference=8",
    "sample.n=2",
    "metrics=[{use: speech-judge, steps: 2}]",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "toy"
    words = [word for setting in SHORT for word in ("--set", setting)]
    assert main(["run", "toy-speech", *words, "--out", str(folder)]) == 0
    return folder


def test_the_report_can_be_heard(run):
    page = (run / "report.html").read_text()
    sounds = re.findall(r'<audio[^>]* src="data:audio/wav;base64,', page)
    pictures = re.findall(r'<img alt="spectrogram"[^>]* src="data:image/png;base64,', page)
    # Two generated and two real; of each task two prompts or recordings, answers and truths.
    assert len(sounds) == 4 + 2 * 6
    assert len(pictures) > 4
    assert not re.search(r'src="(?!data:)', page)
    asked = json.loads((run / "evaluation.json").read_text())["tasks"]
    assert "as asked" in asked["convert-voice"]["columns"]  # in their own voice
    assert "as asked" not in asked["synthesise"]["columns"]  # a text is no sound
    table = (run / "evaluation.json").read_text()
    assert "through the codec" in table
    assert "judge_words" in table


def test_a_text_is_said_into_a_file(run, tmp_path, tone, capsys):
    prompt, out = tone(tmp_path / "voice.wav", rate=16_000), tmp_path / "out.wav"
    words = ["task", str(run), "synthesise", "masa", "--prompt", str(prompt), "-o", str(out)]
    with pytest.warns(UserWarning, match="1 file resampled to 8000 Hz") as told:
        assert main(words) == 0
    assert len(told) == 1  # nothing of the speaker, which no network is told
    assert capsys.readouterr().out.strip() == str(out)
    first, rate = soundfile.read(out)
    assert rate == 8000
    assert 0 < len(first) <= 0.768 * 8000
    with pytest.warns(UserWarning, match="resampled"):
        assert main([*words, "-n", "2"]) == 0
    assert (tmp_path / "out-2.wav").is_file()
    deep = tmp_path / "new" / "deep" / "out.flac"
    assert main(["task", str(run), "synthesise", "masa", "-o", str(deep)]) == 0
    assert deep.is_file()


def test_a_recording_is_said_by_another_voice(run, tmp_path, tone, capsys):
    said, voice, out = tone(tmp_path / "said.wav"), tone(tmp_path / "voice.wav"), tmp_path / "out.wav"
    words = ["task", str(run), "convert-voice", str(said), "--prompt", str(voice), "-o", str(out)]
    assert main([*words, "--set", "text=masa"]) == 0
    sound, rate = soundfile.read(out)
    assert rate == 8000
    assert 0.2 * 8000 < len(sound) <= 0.3 * 8000 + 128  # as long as what was said
    capsys.readouterr()
    assert main(words) == 2
    assert "--set text='what it says'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("∞", (), "has no symbol"),
        ("", (), "the text is empty"),
        ("masamasamasa", (), "more than the"),
        ("masa", ("--prompt", "none.wav"), "cannot read none.wav"),
        ("masa", ("--prompt", "{short}"), "less than a frame"),
        ("masa", ("--prompt", "{silent}"), "is silent"),
        ("masa", ("--prompt", "{click}"), "too short for a sample"),
        ("masa", ("-o", "out.xyz"), r"ends in \.wav"),
    ],
)
def test_what_cannot_be_said_is_told_in_one_line(run, tmp_path, tone, capsys, text, more, said):
    tone(tmp_path / "short.wav", seconds=0.01)
    tone(tmp_path / "silent.wav", level=0.0)
    tone(tmp_path / "click.wav", seconds=1 / 48_000, rate=48_000)
    places = {name: tmp_path / f"{name}.wav" for name in ("short", "silent", "click")}
    words = [word.format(**places) for word in more]
    assert main(["task", str(run), "synthesise", text, *words]) == 2
    error = capsys.readouterr().err.strip()
    assert re.search(said, error)
    assert len(error.splitlines()) == 1


def test_recipes_are_sound():
    from flowloom_registry import load_recipe
    from flowloom_registry.config.check import check
    from flowloom_registry.config.stages import stages_of

    shipped = sorted(
        path.stem for path in files("flowloom_audio").joinpath("recipes").iterdir() if path.suffix == ".yaml"
    )
    assert "speak-digits" in shipped
    for name in shipped:
        for stage in stages_of(load_recipe(name)):
            check(stage)


def test_periodwave_has_the_size_of_the_paper():
    from flowloom.spec import Condition, Spec
    from flowloom_audio.models import PeriodWave
    from flowloom_registry import load_recipe
    from flowloom_registry.config.nodes import plain

    said = dict(plain(load_recipe("periodwave-libritts").tree.entries["model"].node))
    said.pop("use")
    with torch.device("meta"):
        model = PeriodWave(Spec((32768,), conditions={"mel": Condition(shape=(128, 100))}), **said)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(30e6, rel=0.05)
