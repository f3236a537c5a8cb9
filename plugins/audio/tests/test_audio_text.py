"""Text to symbols, symbols to frames."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import warnings

import pytest
import torch

from flowloom.errors import DataError, ShapeError
from flowloom_audio.text import Frontend, monotonic_alignment, spread
from flowloom_audio.text import frontend as module


def test_text_is_plain_and_comes_back():
    frontend = Frontend()
    for text, plain in {
        "Three!": "three!",
        "Naïve  Ça": "naive ca",
        "314": "three one four",
        "b2": "b two",
        "“Go” (he said) — ‘now’…": "go he said - 'now'...",
    }.items():
        assert frontend.decode(frontend.encode(text)) == plain
    assert frontend.padded("one", 5).tolist()[3:] == [0, 0]
    with pytest.raises(DataError, match="has 3 symbols, more than the 2"):
        frontend.padded("one", 2)
    with pytest.raises(DataError, match=r"'µ'|'μ'"):
        frontend.encode("5 µm")
    with pytest.raises(DataError, match="empty"):
        frontend.encode("  ")


def test_without_espeak_characters_are_used_and_it_is_said_once(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    module.phonemes.cache_clear()
    module._say_once.cache_clear()
    frontend = Frontend("phonemes")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ids = [frontend.encode("seven"), frontend.encode("eight")]
    assert [frontend.decode(one) for one in ids] == ["seven", "eight"]
    assert len([one for one in caught if "espeak-ng" in str(one.message)]) == 1
    module.phonemes.cache_clear()


def test_other_languages_are_read_as_they_are_written(monkeypatch):
    """An accent is a sound there, and numbers are not English words; marks of a language are no sounds."""
    heard = []

    def run(command, **settings):
        heard.append(command[-1])
        return subprocess.CompletedProcess(command, 0, "(en)wˈiːkɛnd(de) ʃˈøːn\n", "")

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", run)
    module.phonemes.cache_clear()
    german, english = Frontend("phonemes", "de"), Frontend("phonemes")
    assert german.decode(german.encode("Weekend,  schön 3 ß")) == "wˈiːkɛnd ʃˈøːn"
    english.encode("naïve 3")
    assert heard == ["Weekend, schön 3 ß", "naive three"]
    module.phonemes.cache_clear()


def test_what_espeak_says_nothing_of_is_refused(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, "\n", "")
    )
    module.phonemes.cache_clear()
    with pytest.raises(DataError, match=r"the text '...' holds nothing that espeak-ng says"):
        Frontend("phonemes").encode("...")
    module.phonemes.cache_clear()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_phonemes_are_those_of_the_words():
    frontend = Frontend("phonemes")
    said = [frontend.decode(frontend.encode(word)) for word in ("two", "too", "three")]
    assert said[0] == said[1] != said[2]
    assert "θ" in said[2]


def brute_force(scores):
    n, frames = scores.shape
    best, path = -float("inf"), None
    for steps in itertools.combinations(range(1, frames), n - 1):
        a = [sum(f >= s for s in steps) for f in range(frames)]
        value = sum(float(scores[a[f], f]) for f in range(frames))
        if value > best:
            best, path = value, a
    return path


def test_monotonic_alignment_is_the_best_way():
    draws = torch.Generator().manual_seed(0)
    scores = torch.randn(6, 4, 7, generator=draws)
    symbols, frames = torch.tensor([4, 3, 2, 1, 4, 4]), torch.tensor([7, 7, 5, 3, 4, 6])
    path = monotonic_alignment(scores, symbols, frames)
    for i, (n, f) in enumerate(zip(symbols.tolist(), frames.tolist(), strict=True)):
        assert path[i, :f].tolist() == brute_force(scores[i, :n, :f])
        assert path[i, f:].tolist() == [-1] * (7 - f)
    with pytest.raises(ShapeError, match="row 1 has 4 symbols and 3 frames"):
        monotonic_alignment(scores[:2], torch.tensor([4, 4]), torch.tensor([7, 3]))


def test_symbols_are_spread_evenly():
    found = spread(torch.tensor([2, 3]), torch.tensor([6, 3]), 6)
    assert found.tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, 2, 2, 2, 2]]
