"""Settings that would say nothing, or break later, are refused where a part is made."""

from __future__ import annotations

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom_audio.data import SpokenDigits, ToySpeech
from flowloom_audio.metrics import LogMelFrechet, SpectralDistance
from flowloom_audio.views import Reverberate, SoundFrames


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ToySpeech(words=("ma", "")), "none of them empty"),
        (lambda: ToySpeech(words=()), "one or more"),
        (lambda: ToySpeech(seconds=float("inf")), "seconds must be positive and finite"),
        (lambda: ToySpeech(seconds=1e-6), "hold a sample or more at 8000 Hz"),
        (lambda: ToySpeech(prompt=1e-6), "hold a sample or more at 8000 Hz"),
        (lambda: SpokenDigits(text_length=0), "text_length must be at least 1"),
        (lambda: ToySpeech(mix=(5.0, 0.0)), r"mix is \(lowest, highest\) in dB"),
        (lambda: Reverberate(seconds=(0.001, 0.002)), "leave no echo"),
        (lambda: Reverberate(seconds=(1e-5, 1e-4)), "leave no echo"),
        (lambda: Reverberate(wet=(0.1, float("inf"))), "lowest, highest"),
        (lambda: Reverberate(rate=0), "leave no echo"),
        (lambda: SpectralDistance(windows=()), "windows are one or more"),
        (lambda: SpectralDistance(windows=(2,)), "of 4 samples or more"),
        (lambda: LogMelFrechet(bands=0), "bands must be at least 1"),
    ],
)
def test_they_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_recording_is_not_laid_over_itself():
    one = ToySpeech(words=("ma",), voices=1, takes=2, mix=(0.0, 0.0))
    with pytest.raises(DataError, match="there is none but its own"):
        one.take(torch.arange(1))
    two = ToySpeech(words=("ma", "na"), voices=1, takes=2, mix=(0.0, 0.0))
    rows = two.all()
    for wave, mixed in zip(rows.x, rows.cond["degraded"], strict=True):
        assert not torch.allclose(mixed, 2 * wave, atol=1e-3)


def test_frames_are_of_recordings_alone():
    spec = Spec((1024,), conditions={"speaker": Condition(3), "prompt": Condition(4)})
    for view in (SoundFrames(also=("speaker",)), SoundFrames()):
        with pytest.raises(IncompatibleError, match="is none; leave it out of 'also'"):
            view.spec(spec)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_of_waveforms(dtype):
    draws = torch.Generator().manual_seed(0)
    wave = torch.randn(2, 1024, generator=draws)
    plain = SoundFrames()(Examples(wave.to(dtype).float(), {}), draws).x
    assert torch.allclose(SoundFrames()(Examples(wave.to(dtype), {}), draws).x, plain, atol=1e-4)
    echo = Reverberate()(Examples(wave.to(dtype), {}, fl.layout.Layout()), draws).cond["degraded"]
    assert echo.dtype == dtype
