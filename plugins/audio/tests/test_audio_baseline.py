"""espeak-ng as a baseline, and answers that have a length of their own."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from flowloom.data import Examples
from flowloom.errors import DataError, IncompatibleError, MissingDependencyError
from flowloom.layout import Layout
from flowloom.spec import Condition
from flowloom_audio import baselines
from flowloom_audio.baselines import Espeak
from flowloom_audio.data import ToySpeech
from flowloom_audio.text import Frontend
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.baseline import rules
from flowloom_registry.runs.notes import Notes


@pytest.fixture(scope="module")
def data():
    return ToySpeech(voices=2, takes=5)


@pytest.fixture
def voice(monkeypatch):
    """A stand-in for espeak-ng: a tone of 0.1 s for every letter between two silences."""
    asked = []

    def spoken(text, rate, language):
        asked.append((text, rate, language))
        tone = (torch.arange(len(text) * rate // 10) * 0.3).sin()
        quiet = torch.zeros(rate // 2)
        return torch.cat([quiet, 0.9 * tone, quiet])

    monkeypatch.setattr(baselines, "spoken", spoken)
    return asked


def fitted(data, **settings):
    rule = Espeak(**settings)
    rule.fit(data)
    return rule


def test_every_row_is_its_text_at_the_level_and_as_long_as_it_is_said(voice, data):
    rule = fitted(data, level=0.05)
    asked = data.take(torch.arange(4))
    before = asked.cond["mask"].clone()
    found = rule(asked, torch.Generator())
    assert torch.equal(asked.cond["mask"], before)
    for row, (text, rate, language) in enumerate(voice):
        assert (text, rate, language) == (data.words(asked.cond["text"][row]), 8000, "en-us")
        said = found.x[row][found.cond["mask"][row]]
        assert len(said) == pytest.approx(len(text) * 800, abs=2 * 80)  # silence is cut off
        assert float(said.square().mean().sqrt()) == pytest.approx(0.05, rel=0.02)
        assert not found.x[row][~found.cond["mask"][row]].any()


def test_what_is_longer_than_a_row_is_cut_and_what_is_not_said_is_silent(voice, monkeypatch):
    short = ToySpeech(voices=2, takes=5, seconds=0.3, words=("ma",))
    monkeypatch.setattr(baselines, "spoken", lambda *_: torch.ones(9000).mul(0.3))
    rule = fitted(short)
    found = rule(short.take(torch.arange(2)), torch.Generator())
    assert bool(found.cond["mask"].all())

    def nothing(*_):
        raise DataError("no samples")

    monkeypatch.setattr(baselines, "spoken", nothing)
    assert not rule(short.take(torch.arange(2)), torch.Generator()).x.any()


def test_phonemes_are_refused(data):
    with pytest.raises(IncompatibleError, match="says texts of characters"):
        Espeak().fit(SimpleNamespace(spec=phonemic(data.spec)))


def phonemic(spec):
    """The same data with texts of phonemes."""
    tokens = Frontend("phonemes").tokens
    text = Condition(len(tokens), spec.conditions["text"].shape, tokens)
    return replace(spec, conditions={**spec.conditions, "text": text})


def fake(data, invents=("mask",), **rest):
    made = SimpleNamespace(
        spec=data.spec,
        flow=SimpleNamespace(objective=SimpleNamespace(invents=invents)),
        evaluate=SimpleNamespace(seed=0),
        fitted=set(),
        require_data=lambda why: data,
        **rest,
    )
    made.as_answered = lambda answers, layout: Assembly.as_answered(made, answers, layout)
    return made


def test_without_the_program_the_column_is_left_out_and_that_is_said_once(data, monkeypatch):
    monkeypatch.setattr(baselines, "spoken", lambda *_: None)
    rule, notes = fitted(data), Notes()
    asked = data.take(torch.arange(2))
    with pytest.raises(MissingDependencyError, match="espeak-ng is not installed"):
        rule(asked, torch.Generator())
    for _ in range(2):
        assert rules(fake(data, baselines={"espeak-ng": rule}), asked, notes) == {}
    assert notes.lines == ["no espeak-ng: the program espeak-ng is not installed (apt install espeak-ng)"]


def test_answers_are_as_long_as_they_say_where_the_flow_makes_that_up(data):
    """Speech was judged at the length of its truth: what was longer was cut, what was shorter padded."""
    truth = data.take(torch.arange(2)).laid_out(data.spec)
    mask = torch.zeros_like(truth.cond["mask"])
    mask[:, :5000] = True
    answers = Examples(torch.ones_like(truth.x), {**truth.cond, "mask": mask})
    own = fake(data).as_answered(answers, truth.layout)
    assert torch.equal(own.layout.real, mask)
    told = fake(data, invents=()).as_answered(answers, truth.layout)
    assert torch.equal(told.layout.real, truth.layout.real)
    bare = Examples(answers.x, {})
    assert isinstance(fake(data).as_answered(bare, truth.layout).layout, Layout)
