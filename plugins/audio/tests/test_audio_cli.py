"""From a recipe to a sound file, and what is refused on the way."""

from __future__ import annotations

import json
import re
import warnings
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


def test_voices_that_training_never_heard_are_judged(tmp_path, digits, monkeypatch):
    monkeypatch.setenv("FLOWLOOM_DATA", str(digits.parent))
    short = (setting for setting in SHORT if not setting.startswith(("data.", "metrics")))
    kept = (
        "data={use: spoken-digits, unseen: [cid], prompt: 0.1}",
        "evaluate.split=unseen",
        "tasks=[synthesise]",
    )
    words = [word for setting in (*short, *kept, "metrics=[log-mel-frechet]") for word in ("--set", setting)]
    assert main(["run", "toy-speech", *words, "--out", str(tmp_path / "run")]) == 0
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    # No row of training has such a voice, and none stands for it.
    assert set(found["columns"]) == {"samples", "through the codec"}
    assert set(found["tasks"]["synthesise"]["columns"]) == {"samples", "through the codec"}


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "enhance"
    more = (
        *(setting for setting in SHORT if "speech-judge" not in setting),
        "data={use: toy-speech, takes: 3, voices: 2}",
        "metrics=[log-mel-frechet]",
        "tasks=[{use: from-recording, name: enhance, metrics: [stft-distance]}]",
    )
    words = [word for setting in more if not setting.startswith("data.") for word in ("--set", setting)]
    assert main(["run", "enhance-digits", *words, "--out", str(folder)]) == 0
    return folder


def test_a_recording_is_enhanced_into_a_file(enhancer, tmp_path, tone, capsys):
    out = tmp_path / "clean.flac"
    assert "as asked" in json.loads((enhancer / "evaluation.json").read_text())["tasks"]["enhance"]["columns"]
    for given, least, most in ((tone(tmp_path / "a b.wav", seconds=0.4), 0.4, 0.42), (3, 0.2, 0.768)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a copy that nobody gave, say
            assert main(["task", str(enhancer), "enhance", str(given), "-o", str(out)]) == 0
        sound, rate = soundfile.read(out)
        assert rate == 8000
        assert least * rate <= len(sound) <= most * rate
    with pytest.warns(UserWarning, match=r"the first 0\.768 s are used, .* it has 2\.00 s"):
        assert (
            main(["task", str(enhancer), "enhance", str(tone(tmp_path / "b.wav", 2.0)), "-o", str(out)]) == 0
        )
    capsys.readouterr()
    for given, more, said in (
        ("none.wav", (), "there is no file none.wav"),
        (str(tone(tmp_path / "quiet.wav", level=0.0)), (), "is silent"),
        (str(tmp_path / "a b.wav"), ("--prompt", "none.wav"), "trained without prompts"),
    ):
        assert main(["task", str(enhancer), "enhance", given, *more, "-o", str(out)]) == 2
        assert said in capsys.readouterr().err


def test_a_recording_of_any_length_is_vocoded_at_once_and_in_chunks(tmp_path, tone):
    folder, said = tmp_path / "vocoder", tone(tmp_path / "said.wav", seconds=0.5)
    short = ("train.steps=2", "train.batch=2", "model.width=4", "model.mel_width=8", "model.mel_depth=1")
    few = ("evaluate.n=4", "evaluate.reference=8", "sample.n=2", "solver.steps=1", "data.takes=3")
    words = [word for setting in (*short, *few) for word in ("--set", setting)]
    assert main(["run", "toy-vocoder", *words, "--out", str(folder)]) == 0
    task = ["task", str(folder), "vocode", str(said), "-o"]
    assert main([*task, str(tmp_path / "whole.wav")]) == 0
    assert main([*task, str(tmp_path / "chunks.wav"), "--set", "chunk=8"]) == 0
    whole, chunks = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("whole", "chunks"))
    assert len(whole) == len(chunks) == -(-4000 // 64) * 64
    assert 0 < abs(whole - chunks).max() < 0.2 * abs(whole).max()
    assert main(["task", str(folder), "vocode", "3", "-o", str(tmp_path / "row.wav")]) == 0
    assert len(soundfile.read(tmp_path / "row.wav")[0]) == 1920


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("∞", (), "has no symbol"),
        ("", (), "the text is empty"),
        ("masamasamasa", (), "more than the"),
        ("masa", ("--prompt", "none.wav"), "there is no file none.wav"),
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
