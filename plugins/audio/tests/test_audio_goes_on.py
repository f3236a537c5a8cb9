"""A network of speech that begins with the weights of one that was told less."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.module_names import module_name
from flowloom.spec import Condition, Spec
from flowloom.trained import Trained
from flowloom_audio.models import SpeechTransformer
from flowloom_registry import load
from flowloom_registry.cli import main

SPEC = Spec((6, 4), conditions={"copy": Condition(shape=(6, 4)), "text": Condition(5, (3,))})


def trained(**settings):
    torch.manual_seed(1)
    network = SpeechTransformer(SPEC, **{"width": 8, "depth": 1, "heads": 2, "ignore": ["text"]} | settings)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return Trained(fl.Flow(network, spec=SPEC))


def test_it_says_what_the_other_says_until_it_is_told_more():
    before = trained()
    network = SpeechTransformer(SPEC, width=8, depth=1, heads=2, pretrained=before).eval()
    x, t, copy = torch.randn(3, 6, 4), torch.rand(3), torch.randn(3, 6, 4)
    text = torch.tensor([[1, 2, 3], [2, 2, 0], [4, 0, 0]])
    asked, said = network(x, t, copy=copy), before(x, t, copy=copy)
    assert not torch.equal(asked, said)  # the vector of no text is new
    torch.nn.init.zeros_(network.silent[module_name("text")])
    torch.testing.assert_close(network(x, t, copy=copy), said)
    assert not torch.allclose(network(x, t, copy=copy, text=text), said)
    assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("settings", [{"width": 16}, {"depth": 2}, {"ignore": ["text", "copy"]}])
def test_another_network_is_refused(settings):
    with pytest.raises(IncompatibleError, match="pretrained has the weight"):
        SpeechTransformer(SPEC, width=8, depth=1, heads=2, pretrained=trained(**settings))


def test_other_bands_are_refused():
    other = replace(SPEC, shape=(6, 3), conditions={"copy": Condition(shape=(6, 3))})
    with pytest.raises(IncompatibleError, match="pretrained has the weight"):
        SpeechTransformer(other, width=8, depth=1, heads=2, pretrained=trained())


def test_speech_goes_on_from_pre_training_without_text(tmp_path):
    (tmp_path / "speak.yaml").write_text(
        """
data: {use: toy-speech, voices: 2, takes: 3}
views: [{use: known-spans, span: 640}]
codec: {use: log-mel, bands: 8, window: 256, hop: 64}
path: {use: affine, schedule: cond-ot}
solver: {use: euler, steps: 1}
metrics: [log-mel-frechet]
train: {steps: 2, batch: 4}
evaluate: {n: 4, reference: 4, baseline: none, sweep_nfe: []}
sample: {n: 2, rows: 1, frames: 2}
model: {use: speech-transformer, width: 16, depth: 1, heads: 2}
stages:
  - name: pretrained
    model: {ignore: [speaker, text]}
  - name: speak
    codec: {run: pretrained}
    model: {ignore: [speaker], pretrained: {run: pretrained}}
    train: {steps: 1, lr: 1.0e-9}
"""
    )
    assert main(["run", str(tmp_path / "speak.yaml"), "--out", str(tmp_path / "run")]) == 0
    (tmp_path / "run").rename(tmp_path / "moved")
    before, after = load(tmp_path / "moved" / "stages" / "pretrained"), load(tmp_path / "moved")
    old, new = (one.flow.model.state_dict() for one in (before, after))
    assert set(old) < set(new)
    assert any(name.startswith("texts") for name in set(new) - set(old))
    for name, weight in old.items():
        torch.testing.assert_close(new[name], weight, atol=1e-6, rtol=0)
    assert "samples" in json.loads((tmp_path / "moved" / "evaluation.json").read_text())["columns"]
