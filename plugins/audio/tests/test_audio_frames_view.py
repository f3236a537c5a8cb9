"""Frames in place of recordings: those of the codec, at places that are real."""

from __future__ import annotations

import pytest
import torch

from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom.views.base import through
from flowloom_audio.codecs import LogMel
from flowloom_audio.data import ToySpeech
from flowloom_audio.views import FrontEnd, SoundFrames


def test_frames_are_those_of_the_codec():
    data = ToySpeech(voices=2, takes=2, seconds=0.4, prompt=0.2, mix=(0.0, 0.0))
    draws = torch.Generator().manual_seed(0)
    jobs = FrontEnd()
    before = through([jobs], data.take(torch.arange(6)), data.spec, draws)
    view = SoundFrames(bands=16, mean=-2.0, std=0.5)
    spec = jobs.spec(data.spec)
    found = view(before.laid_out(spec), draws)
    codec = LogMel(spec, bands=16)
    codec.mean.fill_(-2.0)
    codec.std.fill_(0.5)
    wanted = codec.encode(before)
    assert torch.allclose(found.x, wanted.x, atol=1e-5)
    for name in ("prompt", "degraded"):
        assert torch.allclose(found.cond[name], wanted.cond[name], atol=1e-5)
    assert torch.equal(found.cond["mask"], wanted.cond["mask"])
    assert not bool(found.cond["mask"].all())
    after = view.spec(spec)
    assert after.conditions == codec.spec.conditions
    assert after.shape == codec.spec.shape


def test_what_it_cannot_frame_is_refused():
    with pytest.raises(IncompatibleError, match="for waveforms"):
        SoundFrames().spec(Spec((8, 2)))
    known = {"known": Condition(shape=(800,), role="given")}
    with pytest.raises(IncompatibleError, match="'known'"):
        SoundFrames().spec(Spec((800,), conditions=known, rate=8000))
    with pytest.raises(IncompatibleError, match="4000"):
        SoundFrames(rate=4000).spec(Spec((800,), rate=8000))
    with pytest.raises(ValueError, match="positive"):
        SoundFrames(std=0.0)
