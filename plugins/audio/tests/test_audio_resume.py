"""A killed training of speech goes on with the same bits: buckets, degraded copies, the law of lengths."""

from __future__ import annotations

import torch

import flowloom as fl
from flowloom.training import TrainConfig
from flowloom.training.checkpoint import load_checkpoint, save_checkpoint
from flowloom.training.feeds.bucketed import Bucketed
from flowloom_audio.codecs import LogMel
from flowloom_audio.data import ToySpeech
from flowloom_audio.models import SpeechTransformer
from flowloom_audio.objective import SpeechMatching
from flowloom_audio.views import AddNoise


def trained(seed):
    data = ToySpeech(voices=2, takes=3, prompt=0.128)
    feed = Bucketed(data, [AddNoise()], pool=2, multiple=128)
    torch.manual_seed(seed)
    codec = LogMel(feed.spec, bands=8)
    flow = fl.Flow(
        SpeechTransformer(codec.spec, width=16, depth=1, heads=2, ignore=["speaker"]),
        objective=SpeechMatching(codec.spec, condition_dropout=0.2, ignore=["speaker"]),
        codec=codec,
        spec=codec.spec,
    )
    return flow, feed


def run(trainer, until=None):
    for _ in trainer.run(until):
        pass


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path):
    config = TrainConfig(steps=6, batch=4, lr=1e-3, log_every=1, ema=0.9)
    flow, feed = trained(0)
    flow.fit_parts(feed.examples(), seed=4)
    whole = flow.trainer(feed, config, seed=4)
    run(whole, 2)
    folder = save_checkpoint(whole, tmp_path)
    run(whole)
    other, again = trained(7)
    second = other.trainer(again, config, seed=4)
    load_checkpoint(second, folder)
    run(second)
    a, b = whole.flow.state_dict(), second.flow.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any("objective.length" in name for name in a)
