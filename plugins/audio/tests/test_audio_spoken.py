"""Speech of espeak-ng in the published layouts: what is said comes back with its text and speaker."""

from __future__ import annotations

import shutil

import pytest
import torch

from flowloom_audio.baselines import Espeak
from flowloom_audio.data import AudioFolder
from flowloom_audio.data.sound import write_sound
from flowloom_audio.data.spoken import spoken

pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")

TEXTS = ("three one four", "good morning", "nine lives")
RATE = 22_050


def say(file, text, voice="en-us"):
    file.parent.mkdir(parents=True, exist_ok=True)
    write_sound(file, spoken(text, RATE, voice), RATE)


def ljspeech(folder):
    for i, text in enumerate(TEXTS):
        say(folder / "wavs" / f"LJ{i}.wav", text)
    lines = (f"LJ{i}|{text.upper()}|{text}\n" for i, text in enumerate(TEXTS))
    (folder / "metadata.csv").write_text("".join(lines))
    return {"lj"}


def libritts(folder):
    for speaker, voice in (("84", "en-us"), ("97", "en-gb")):
        for i, text in enumerate(TEXTS):
            name = folder / speaker / "12" / f"{speaker}_12_{i}"
            say(name.with_suffix(".wav"), text, voice)
            name.with_suffix(".normalized.txt").write_text(text)
    return {"84", "97"}


def vctk(folder):
    for speaker, voice in (("p225", "en-us"), ("p226", "en-gb")):
        for i, text in enumerate(TEXTS):
            say(folder / "wav48_silence_trimmed" / speaker / f"{speaker}_{i}_mic1.flac", text, voice)
            script = folder / "txt" / speaker / f"{speaker}_{i}.txt"
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text(f"{text}\n")
    return {"p225", "p226"}


@pytest.mark.parametrize("write", [ljspeech, libritts, vctk])
def test_what_is_said_comes_back_with_its_text_and_speaker(write, tmp_path):
    speakers = write(tmp_path)
    data = AudioFolder(folder=tmp_path, layout=write.__name__, rate=8000, seconds=2.5)
    clips = data.everything()
    assert sorted(clip.text for clip in clips) == sorted(TEXTS * len(speakers))
    assert {clip.speaker for clip in clips} == speakers
    with pytest.warns(UserWarning, match="resampled to 8000 Hz"):
        rows = data.all()
    assert len(rows) >= len(clips) // 2  # a tenth, by their names, is of another split
    assert {data.words(row) for row in rows.cond["text"]} <= set(TEXTS)
    lengths = rows.cond["mask"].sum(1)
    assert bool((lengths > 0.3 * 8000).all())
    level = (rows.x.square().sum(1) / lengths).sqrt()
    torch.testing.assert_close(level, torch.full_like(level, 0.1), rtol=1e-2, atol=0)


def test_the_baseline_says_what_recordings_of_the_same_voice_say(tmp_path):
    """Of recordings that espeak-ng made itself, its baseline is the truth."""
    ljspeech(tmp_path)
    data = AudioFolder(folder=tmp_path, layout="ljspeech", rate=8000, seconds=2.5)
    with pytest.warns(UserWarning, match="resampled"):
        rows = data.all()
    rule = Espeak()
    rule.fit(data)
    said = rule(rows, torch.Generator())
    assert int((said.cond["mask"].sum(1) - rows.cond["mask"].sum(1)).abs().max()) <= 160
    near = torch.nn.functional.cosine_similarity(said.x, rows.x)
    assert float(near.min()) > 0.9
