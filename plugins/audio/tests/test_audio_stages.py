"""Speech in stages: a vocoder, pre-training without text, fine-tuning that is heard through both."""

from __future__ import annotations

import json

import pytest
import torch

from flowloom_registry import load
from flowloom_registry.cli import main

STAGED = """
name: staged
data: {use: toy-speech, voices: 2, takes: 3}
path: {use: affine, schedule: cond-ot}
solver: {use: euler, steps: 1}
train: {steps: 2, batch: 4}
evaluate: {n: 4, reference: 4, questions: 4, baseline: none, sweep_nfe: []}
sample: {n: 2, rows: 1, frames: 2}
stages:
  - name: vocoder
    extends: toy-vocoder
    data: {voices: 2, takes: 3}
    views: [{use: sound-piece, samples: 640}, {use: mel-beside, bands: 8, window: 256, hop: 64}]
    model: {width: 4, stages: 1, mel_width: 8, mel_depth: 1, periods: [1, 2]}
    metrics: [stft-distance]
    solver: {use: euler, steps: 1}
    train: {steps: 2, batch: 4}
    evaluate: {n: 2, reference: 4}
  - name: pretrained
    views: [{use: known-spans, span: 640}]
    codec: {use: log-mel, bands: 8, window: 256, hop: 64, vocoder: {run: vocoder}}
    model: {use: speech-transformer, width: 16, depth: 1, heads: 2, ignore: [speaker, text]}
    metrics: [log-mel-frechet]
  - name: enhance
    views: [add-noise]
    codec: {run: pretrained}
    model: {run: pretrained, frozen: false}
    metrics: [log-mel-frechet]
    tasks: [{use: predict, name: enhance, metrics: [stft-distance]}]
"""


@pytest.mark.slow
def test_a_network_goes_on_from_pre_training_and_is_heard_by_the_vocoder(tmp_path):
    (tmp_path / "staged.yaml").write_text(STAGED)
    assert main(["run", str(tmp_path / "staged.yaml"), "--out", str(tmp_path / "run")]) == 0
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert set(found["tasks"]["enhance"]["columns"]) >= {"samples", "as asked"}
    others = {"samples through Griffin-Lim", "through the codec", "through Griffin-Lim"}
    assert set(found["columns"]) >= others
    enhance, before = load(tmp_path / "run"), load(tmp_path / "run" / "stages" / "pretrained")
    vocoder = load(tmp_path / "run" / "stages" / "vocoder")
    old, new = (one.flow.model.state_dict() for one in (before, enhance))
    assert old.keys() == new.keys()
    apart = [float((old[k] - new[k]).abs().max()) for k in old if old[k].is_floating_point()]
    assert 0 < max(apart) < 0.1  # two steps from where it was, and not another network
    codec = enhance.flow.codec
    assert torch.equal(codec.mean, before.flow.codec.mean)
    kept = dict(codec.vocoder.flow.model.state_dict())
    assert all(torch.equal(v, kept[k]) for k, v in vocoder.flow.model.state_dict().items())
