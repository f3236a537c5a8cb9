"""Text against frames in a report."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
import torch

from flowloom_audio.data import ToySpeech
from flowloom_audio.renderer import AudioPlayers
from flowloom_audio.text import spread
from flowloom_audio.text.picture import alignment_picture


def bars(picture):
    found = ElementTree.fromstring(picture).iter("rect")
    return [tuple(float(one.get(k)) for k in ("x", "y", "width")) for one in found]


def test_every_symbol_has_its_line_and_its_frames():
    picture = alignment_picture(["a", " ", "<"], torch.tensor([0, 0, 1, 2, 2, -1, 2, 0]), 80)
    assert bars(picture) == [(0, 0, 20), (20, 9, 10), (30, 18, 20), (60, 18, 10), (70, 0, 10)]
    names = [one.text for one in ElementTree.fromstring(picture).iter("text")]
    assert names == ["a", "␣", "<"]
    even = alignment_picture(["a", "b"], spread(torch.tensor([2]), torch.tensor([6]), 6)[0], 60)
    assert bars(even) == [(0, 0, 30), (30, 9, 30)]


def test_a_report_shows_the_text_under_each_sound():
    data = ToySpeech(voices=2, takes=5)
    few = data.take(torch.arange(2)).laid_out(data.spec)
    (figure,) = AudioPlayers(data.spec).samples(few, few)
    pictures = re.findall(r"<svg.*?</svg>", figure.data.decode())
    assert len(pictures) == 2
    for picture, ids in zip(pictures, few.cond["text"], strict=True):
        said = "".join(one.text for one in ElementTree.fromstring(picture).iter("text"))
        assert said == data.words(ids).replace(" ", "␣")
    # Durations of a flow stand in place of the even spread.
    lasting = torch.ones(few.cond["text"].shape)
    lasting[:, 0] = 5
    timed = type(few)(few.x, {**few.cond, "durations": lasting}, few.layout)
    (figure,) = AudioPlayers(data.spec).samples(timed, few)
    first = bars(re.findall(r"<svg.*?</svg>", figure.data.decode())[0])
    assert len({width for *_, width in first[1:]}) == 1
    assert first[0][2] == pytest.approx(5 * first[1][2], abs=0.3)
    bare = type(few)(few.x, {"mask": few.cond["mask"]}, few.layout)
    (figure,) = AudioPlayers(data.spec).samples(bare, bare)
    assert b"<svg" not in figure.data
