"""Recordings: layouts, splits, joined words, prompts, and files that are not as they should be."""

from __future__ import annotations

import bz2
import csv
import io
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import soundfile
import torch

from flowloom.errors import DataError, IncompatibleError
from flowloom.spec import Spec
from flowloom_audio.codecs import LogMel
from flowloom_audio.data import AudioFolder, SpokenDigits, ToySpeech
from flowloom_audio.data.clips import clips_of
from flowloom_audio.data.sound import Notes, as_wav, read_sound, without_silence, write_sound
from flowloom_audio.views import Piece, Reverberate


def told(data):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        length = len(data)
    return length, [str(one.message) for one in caught]


def test_digits_have_text_speaker_and_the_published_split(digits):
    data = SpokenDigits(digits)
    examples, test = data.all(), data.split("test")
    assert (len(data), len(test)) == (30, 150)
    assert data.names == ("ann", "bob", "cid")
    words = {data.words(row) for row in examples.cond["text"]}
    assert words == {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
    lengths = examples.cond["mask"].sum(1)
    assert int(lengths.min()) > 1000
    assert int(lengths.max()) <= data.samples
    assert bool((examples.x[~examples.cond["mask"]] == 0).all())
    with pytest.raises(DataError, match="it has: train, test"):
        data.split("val")


def test_any_speakers_can_be_left_out_of_training(digits):
    data = SpokenDigits(digits, unseen=["bob"])
    bob = data.names.index("bob")
    assert bob not in data.all().cond["speaker"]
    assert bob not in data.split("test").all().cond["speaker"]
    assert set(data.split("unseen").all().cond["speaker"].tolist()) == {bob}
    only = SpokenDigits(digits, speakers=["ann"])
    assert only.names == ("ann",)
    with pytest.raises(DataError, match="no speaker 'eve'; there are: ann, bob, cid"):
        len(SpokenDigits(digits, speakers=["eve"]))


def test_a_number_of_speakers_can_be_left_out_whoever_they_are(digits):
    data = SpokenDigits(digits, unseen=1)
    assert data.splits == ("train", "test", "unseen")
    cid = data.names.index("cid")  # the last by name
    assert set(data.split("unseen").all().cond["speaker"].tolist()) == {cid}
    for split in ("train", "test"):
        assert set(data.split(split).all().cond["speaker"].tolist()) == {0, 1}
    assert SpokenDigits(digits, unseen=0).splits == ("train", "test")
    with pytest.raises(DataError, match="unseen leaves 3 speakers out, and there are 3"):
        len(SpokenDigits(digits, unseen=3))
    with pytest.raises(ValueError, match="unseen is speakers, or how many, got -1"):
        SpokenDigits(digits, unseen=-1)


def test_joined_words_are_of_one_speaker_and_fit(digits):
    data = SpokenDigits(digits, join=3, seconds=1.024, rows=40, prompt=0.3)
    examples = data.all()
    counts = {len(data.words(row).split()) for row in examples.cond["text"]}
    assert counts == {1, 2, 3}
    assert examples.cond["prompt"].shape == (40, 2400)
    again = data.take(torch.tensor([7]))
    assert torch.equal(again.x[0], examples.x[7])
    # The tones of a speaker lie in a band of their own, so that the prompt tells whose it is.
    for i in range(10):
        spectrum = torch.fft.rfft(examples.cond["prompt"][i]).abs()
        pitch = float(spectrum.argmax()) * 8000 / 2400
        assert (pitch - 150) // 100 in (
            float(examples.cond["speaker"][i]),
            float(examples.cond["speaker"][i]) + 1,
        )


def test_mixtures_have_the_ratio_that_is_asked_for(digits):
    data = SpokenDigits(digits, mix=(3.0, 3.0))
    examples = data.take(torch.arange(4))
    noise = (examples.cond["degraded"] - examples.x).square().sum(1)
    ratio = 10 * (examples.x.square().sum(1) / noise).log10()
    assert torch.allclose(ratio, torch.full((4,), 3.0), atol=1e-3)


def test_strange_files_are_named_and_counted_once_a_kind(tmp_path, tone):
    folder = tmp_path / "sounds"
    tone(folder / "ann" / "good.wav")
    tone(folder / "ann" / "wide.wav", subtype="PCM_24")
    tone(folder / "ann" / "float.wav", subtype="FLOAT")
    tone(folder / "ann" / "fast.flac", rate=16_000)
    tone(folder / "ann" / "pair.wav", channels=2)
    tone(folder / "ann" / "loud.wav", level=2.0)
    tone(folder / "ann" / "quiet.wav", level=0.0)
    tone(folder / "ann" / "empty.wav", seconds=0)
    tone(folder / "ann" / "long.wav", seconds=3.0)
    tone(folder / "ann" / "click.wav", seconds=1 / 48_000, rate=48_000)
    soundfile.write(folder / "ann" / "far.wav", np.full(800, 1e30), 8000, subtype="FLOAT")
    (folder / "ann" / "broken.wav").write_bytes(b"RIFF but no more")
    tone(folder / "ann" / "odd.wav")
    (folder / "ann" / "odd.txt").write_text("what is ∞?")
    data = AudioFolder(folder, rate=8000, seconds=1.0)
    data.belongs = lambda clip, split: True
    length, lines = told(data)
    assert length == 6
    wanted = [
        "resampled to 8000 Hz",
        "several channels",
        "clipped",
        "silent",
        "no samples",
        "too short for a sample",
        "out of range",
        "longer",
        "'∞'",
        "broken",
    ]
    for word in wanted:
        (line,) = [line for line in lines if word in line]
        assert line.startswith("1 file ")
        assert "\n" not in line
    assert all(x.shape == (8000,) for x in data.all().x)


def test_texts_of_one_reason_are_one_line(tmp_path, tone):
    for i in range(12):
        tone(tmp_path / "ann" / f"{i}.wav", pitch=200 + i)
        (tmp_path / "ann" / f"{i}.txt").write_text(f"{'a' * (i + 1)} ∞" if i else "a")
    data = AudioFolder(tmp_path, rate=8000, seconds=1.0)
    data.belongs = lambda clip, split: True
    length, lines = told(data)
    assert length == 1
    (line,) = lines
    assert line.startswith("11 files left out (its text holds '∞'")


def test_a_split_without_recordings_is_told_as_such(tmp_path, tone):
    tone(tmp_path / "ann" / "a.wav")
    data = AudioFolder(tmp_path, rate=8000, seconds=1.0, unseen=("ann",))
    with pytest.raises(DataError, match="split 'train' has none of the 1 recordings"):
        len(data)


@pytest.mark.parametrize(
    ("layout", "home", "inside"),
    [
        ("ljspeech", "LJSpeech-1.1.tar.bz2", "LJSpeech-1.1/"),
        ("libritts", "LibriTTS/train-clean-100.tar.gz", "LibriTTS/train-clean-100/"),
        ("vctk", "VCTK-Corpus-0.92.zip", ""),
        (
            "spoken-digits",
            "free-spoken-digit-dataset/master.zip",
            "free-spoken-digit-dataset-master/recordings/",
        ),
    ],
)
def test_archives_are_unpacked_as_they_are_published(tmp_path, tone, monkeypatch, layout, home, inside):
    name = {"libritts": "84/1/84_1_1.wav", "vctk": "wav48/p225/p225_001.wav", "ljspeech": "wavs/a.wav"}
    clip = tone(tmp_path / "clip.wav")
    table = tmp_path / "metadata.csv"
    table.write_text("a|A|A\n")
    members = {name.get(layout, "3_ann_0.wav"): clip} | (
        {"metadata.csv": table} if layout == "ljspeech" else {}
    )
    archive = tmp_path / "data" / home
    archive.parent.mkdir(parents=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for member, file in members.items():
                zipped.write(file, inside + member)
    else:
        with tarfile.open(archive, f"w:{archive.suffix[1:]}") as tar:
            for member, file in members.items():
                tar.add(file, inside + member)
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path / "data"))
    data = SpokenDigits() if layout == "spoken-digits" else AudioFolder(layout=layout)
    (found,) = data.clips()
    assert found.file.is_file()
    assert not list((tmp_path / "data").rglob("*.part"))


def test_a_damaged_archive_leaves_no_folder_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    (tmp_path / "LJSpeech-1.1.tar.bz2").write_bytes(bz2.compress(b"x" * 600)[:-8])
    for _ in range(2):  # and the second time as well
        with pytest.raises(DataError, match="cannot unpack"):
            AudioFolder(layout="ljspeech").clips()
    assert [path.name for path in tmp_path.iterdir()] == ["LJSpeech-1.1.tar.bz2"]


def test_of_two_microphones_one_is_heard(tmp_path, tone):
    for name in ("p225_001_mic1", "p225_001_mic2", "p225_002_mic2"):
        tone(tmp_path / "wav48_silence_trimmed" / "p225" / f"{name}.flac")
    assert [clip.file.stem for clip in clips_of(tmp_path, "vctk")] == ["p225_001_mic1", "p225_002_mic2"]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_widths_of_samples_mean_the_same(tmp_path, tone, subtype):
    notes = Notes()
    wave = read_sound(tone(tmp_path / "a.wav", subtype=subtype), 8000, notes)
    assert float(wave.abs().max()) == pytest.approx(0.5, abs=1e-3)
    assert not notes.found


def test_a_file_that_was_cut_off_is_told(tmp_path, tone):
    """It was read as far as it went, and nobody knew."""
    whole = tone(tmp_path / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    # Written into a pipe: nobody knew the length when the header was written.
    (tmp_path / "piped.wav").write_bytes(whole[:4] + b"\xff" * 4 + whole[8:])
    notes = Notes()
    lengths = [len(read_sound(tmp_path / name, 8000, notes)) for name in ("a.wav", "cut.wav", "piped.wav")]
    assert 0.4 < lengths[1] / lengths[0] < 0.6
    assert lengths[2] == lengths[0]
    (what,) = notes.found
    assert what.startswith("shorter than their header says")
    assert notes.found[what] == [str(tmp_path / "cut.wav")]


def test_what_is_written_is_read(tmp_path):
    wave = 0.3 * torch.randn(800, generator=torch.Generator().manual_seed(0))
    for ending in ("wav", "flac"):
        write_sound(tmp_path / f"a.{ending}", wave.clamp(-1, 1), 8000)
        assert torch.allclose(read_sound(tmp_path / f"a.{ending}", 8000), wave.clamp(-1, 1), atol=1e-4)
    with pytest.raises(DataError, match=r"ends in \.wav"):
        write_sound(tmp_path / "a.xyz", wave, 8000)
    with pytest.raises(DataError, match=r"cannot write .* not finite"):
        write_sound(tmp_path / "b.wav", torch.tensor([0.0, torch.nan]), 8000)
    heard, _ = soundfile.read(io.BytesIO(as_wav(torch.tensor([0.5, torch.nan, torch.inf]), 8000)))
    assert heard == pytest.approx([0.5, 0, 0], abs=1e-4)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(DataError, match="not finite"):
        read_sound(tmp_path / "nan.wav", 8000)


def test_silence_at_both_ends_is_cut():
    wave = torch.cat([torch.zeros(4000), torch.ones(800), torch.zeros(4000)])
    cut = without_silence(wave, 8000)
    assert 800 <= len(cut) <= 1000
    assert len(without_silence(torch.zeros(4000), 8000)) == 4000


def test_published_layouts(tmp_path, tone):
    tone(tmp_path / "lj" / "wavs" / "LJ001-0001.wav")
    (tmp_path / "lj" / "metadata.csv").write_text('LJ001-0001|Mr. "A|Mister "A\n')
    (clip,) = clips_of(tmp_path / "lj", "ljspeech")
    assert (clip.text, clip.speaker) == ('Mister "A', "lj")
    (tmp_path / "lj" / "metadata.csv").write_text("LJ001-0001|A|A\n", encoding="utf-8-sig")  # as Windows does
    assert [clip.file.is_file() for clip in clips_of(tmp_path / "lj", "ljspeech")] == [True]
    tone(tmp_path / "libri" / "84" / "121123" / "84_121123_000001_000000.wav")
    (tmp_path / "libri" / "84" / "121123" / "84_121123_000001_000000.normalized.txt").write_text("Go on.")
    (clip,) = clips_of(tmp_path / "libri", "libritts")
    assert (clip.text, clip.speaker) == ("Go on.", "84")
    tone(tmp_path / "vctk" / "wav48_silence_trimmed" / "p225" / "p225_001_mic1.flac")
    (tmp_path / "vctk" / "txt" / "p225").mkdir(parents=True)
    (tmp_path / "vctk" / "txt" / "p225" / "p225_001.txt").write_text("Please call Stella.\n")
    (clip,) = clips_of(tmp_path / "vctk", "vctk")
    assert (clip.text, clip.speaker) == ("Please call Stella.", "p225")
    with pytest.raises(DataError, match="no recordings of layout spoken-digits"):
        clips_of(tmp_path / "lj", "spoken-digits")
    with pytest.raises(DataError, match="there is no folder"):
        clips_of(tmp_path / "none", "plain")


def test_what_is_hidden_is_no_clip_and_linked_speakers_are(tmp_path, tone):
    tone(tmp_path / "all" / "a" / "0.wav")
    for name in (".hidden/0.wav", "a/._0.wav", "__MACOSX/a/0.wav"):
        tone(tmp_path / "all" / name)
    tone(tmp_path / "elsewhere" / "1.wav")
    (tmp_path / "all" / "b").symlink_to(tmp_path / "elsewhere")
    assert [(c.speaker, c.file.name) for c in clips_of(tmp_path / "all", "plain")] == [
        ("a", "0.wav"),
        ("b", "1.wav"),
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe|a|a\n", b"a|" + b"x" * 140_000 + b"\n"])
def test_a_table_of_clips_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "metadata.csv").write_bytes(content)
    before = csv.field_size_limit(2**17)  # which other readers may have raised
    try:
        with pytest.raises(DataError, match=r"metadata.csv is no table"):
            clips_of(tmp_path, "ljspeech")
    finally:
        csv.field_size_limit(before)


def test_a_take_is_a_plain_number(tmp_path, tone):
    for name in ("3_ann_0", "3_ann_²"):
        tone(tmp_path / f"{name}.wav")
    assert [clip.take for clip in clips_of(tmp_path, "spoken-digits")] == [0]


def test_toy_speech_tells_its_voices_apart():
    data = ToySpeech(prompt=0.128)
    examples = data.all()
    assert bool(examples.x.isfinite().all())
    spectrum = torch.fft.rfft(examples.x).abs().mean(1)
    assert float(spectrum.min()) > 0
    assert len(data.split("test")) == len(data) // 4


def test_the_rate_goes_with_the_data():
    from flowloom_registry.runs.same_data import spec_as_json, spec_from_json

    spec = ToySpeech(voices=1, takes=2, rate=4000).spec
    assert spec_from_json(spec_as_json(spec)) == spec
    assert Piece(64).spec(spec).rate == 4000
    assert LogMel(spec, bands=8).mel.rate == 4000
    with pytest.raises(IncompatibleError, match="told a rate of 8000 Hz, and the data have 4000"):
        Reverberate().spec(spec)
    with pytest.raises(IncompatibleError, match="do not say it; give rate"):
        LogMel(Spec((64,)))


@pytest.mark.parametrize("count", [2, 5])
def test_a_folder_of_few_files_holds_one_of_them_out(tmp_path, count):
    sound = 0.1 * torch.sin(torch.arange(4000) * 0.2)
    for i in range(count):  # none of these names is of the tenth
        write_sound(tmp_path / f"u{i}.wav", sound, 8000)
        (tmp_path / f"u{i}.txt").write_text("one")
    data = AudioFolder(tmp_path, rate=8000, seconds=1.0)
    assert (len(data), len(data.split("test"))) == (count - 1, 1)
    held_out = {clip.file.name for clip in data.everything() if data.belongs(clip, "test")}
    assert held_out == {clip.file.name for clip in data.everything() if not data.belongs(clip, "train")}
