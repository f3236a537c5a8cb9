"""What speech costs: log-mel frames, batches of different length, and a vocoder against the clock.

Run: python benchmarks/bench_audio.py [--rounds 20]     (one thread)
     python benchmarks/bench_audio.py --vocoder runs/vocode-digits     (joints of its chunks)
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from interleave import in_turn, interleave

import flowloom as fl
from flowloom.data import Tensors
from flowloom.libraries import torchaudio
from flowloom.spec import Condition, Spec
from flowloom.training import TrainConfig
from flowloom.training.feeds.bucketed import Bucketed
from flowloom_audio.codecs import Mel
from flowloom_audio.models import PeriodWave, SpectralVocoder, SpeechTransformer
from flowloom_audio.views import MelBeside
from flowloom_audio.vocoder import Vocoder
from flowloom_registry import load

WARMUP = 3


def mel_ratio(rounds):
    """Our log-mel frames of 64 seconds of sound, and torchaudio's own call with the logarithm."""
    waves = torch.randn(64, 8000 // 128 * 128)
    ours = Mel(8000, 64, 512, 128)
    settings = {"power": 1.0, "pad_mode": "constant", "norm": "slaney", "mel_scale": "slaney"}
    theirs = torchaudio().transforms.MelSpectrogram(8000, 512, hop_length=128, n_mels=64, **settings)
    return interleave(
        "log-mel frames of 64 s",
        lambda: ours(waves),
        lambda: theirs(waves).clamp_min(1e-3).log(),
        rounds,
        clock="cpu",
    )


def bucket_ratio(rounds):
    """A step on rows whose lengths vary by half around 64 frames, and on rows of 64 frames: time a frame."""
    bands, longest = 64, 96
    steps = {}
    frames = {}
    for name, low, high in (("varied", 32, 96), ("fixed", 64, 64)):
        draws = torch.Generator().manual_seed(0)
        lengths = torch.randint(low, high + 1, (2048,), generator=draws)
        size = longest if name == "varied" else 64
        spec = Spec((size, bands), conditions={"mask": Condition(shape=(size,), role="real")})
        mask = torch.arange(size) < lengths[:, None]
        data = Tensors(torch.randn(2048, size, bands), {"mask": mask}, spec=spec)
        flow = fl.Flow(SpeechTransformer(spec, width=96, depth=3, heads=4), spec=spec)
        feed = Bucketed(data, pool=20)
        trainer = flow.trainer(feed, TrainConfig(steps=10**6, batch=32, lr=1e-3, log_every=1))
        walk = iter(trainer.run())
        steps[name] = lambda walk=walk: next(walk)
        batches = range(WARMUP, WARMUP + rounds)
        frames[name] = statistics.fmean(float(lengths[feed.rows(k)].sum()) for k in batches)
    times = in_turn(steps, rounds, WARMUP, clock="cpu")
    varied, fixed = (statistics.fmean(times[n]) / frames[n] for n in ("varied", "fixed"))
    return varied / fixed


def vocoders():
    """The networks of `vocode-digits` and `periodwave-digits`, by name."""
    spec = Spec((4096,), conditions={"mel": Condition(shape=(32, 64))})
    return {
        "spectral-vocoder": SpectralVocoder(spec, width=256, depth=6),
        "periodwave": PeriodWave(spec, width=16, stages=3, blocks=1, mel_width=96, mel_depth=3),
    }


def real_time(network, evaluations):
    """Seconds of computing for a second of 8 kHz sound, and until its first 16 frames are there."""
    flow = fl.Flow(network, spec=network.spec, solver=fl.solvers.Euler(evaluations))
    vocoder, frames = Vocoder(flow), torch.randn(1, 62, 64)
    vocoder(frames)
    took = []
    for _ in range(3):
        began = time.process_time()
        vocoder(frames)
        took.append(time.process_time() - began)
    began = time.process_time()
    next(vocoder.chunks(frames, size=16, context=16))
    return min(took) / (62 * 128 / 8000), time.process_time() - began


def joints(run, size=16, rows=24):
    """What chunks of a trained vocoder differ by from one solve, around joints and elsewhere.

    Prints, for so many frames of context: decibels that the difference lies below the sound, within half a
    hop of a joint and over all; and the step from sample to sample at joints over that everywhere, both root
    mean square. A joint clicks where that is more than one solve has at the same places.
    """
    data = run.assembly.built["data"].split("test")
    some = data.take(data.evenly(rows))
    view = next(view for view in run.assembly.built["views"] if isinstance(view, MelBeside))
    hop = run.flow.model.hop
    frames = view.mel(some.x)
    vocoder = Vocoder(run.flow)
    whole = vocoder(frames)
    at = torch.arange(size, frames.shape[1], size) * hop
    near = (torch.arange(whole.shape[1])[:, None] - at).abs().amin(1) < hop // 2
    loud = some.cond["mask"][:, : whole.shape[1]]

    def step(wave):
        jumps, real = wave.diff(dim=1).square(), loud[:, 1:]
        inside = real[:, at - 1]
        return ((jumps[:, at - 1] * inside).sum() / inside.sum() / ((jumps * real).sum() / real.sum())).sqrt()

    print(f"one solve: step at the places of joints {float(step(whole)):.3f} of that everywhere")
    for context in (0, 4, 8, 16):
        began = time.process_time()
        next(vocoder.chunks(frames[:1], size=size, context=context))
        first = time.process_time() - began
        pieces = torch.cat(list(vocoder.chunks(frames, size=size, context=context)), 1)
        off, power = (pieces - whole).square(), whole.square()
        below = [
            float(10 * (power[where].mean() / off[where].mean().clamp_min(1e-20)).log10())
            for where in (loud & near, loud)
        ]
        quiet = f"{below[0]:5.1f} dB below the sound at joints, {below[1]:5.1f} over all"
        click = f"step at joints {float(step(pieces)):.3f}; first sound after {first:.3f} s"
        print(f"context {context:2}: {quiet}; {click}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--vocoder", help="a trained run, whose chunks are compared with one solve")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.vocoder:
        joints(load(args.vocoder, device="cpu"))
        return
    print(mel_ratio(args.rounds))
    print(f"a frame in buckets / at fixed length: {bucket_ratio(args.rounds):.3f}")
    for name, network in vocoders().items():
        for evaluations in (4, 8, 16):
            factor, first = real_time(network, evaluations)
            heard = f"real-time factor {factor:.3f}, first sound after {first:.3f} s"
            print(f"{name} at {evaluations} evaluations: {heard}")


if __name__ == "__main__":
    main()
