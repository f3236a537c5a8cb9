"""Tasks of speech: voices converted by inversion, questions that are answers too, pages that are heard."""

from __future__ import annotations

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.tasks import Predict
from flowloom_audio.codecs import LogMel
from flowloom_audio.data import SpokenDigits, ToySpeech
from flowloom_audio.metrics import SpeechJudge
from flowloom_audio.models import SpeechTransformer
from flowloom_audio.objective import SpeechMatching
from flowloom_audio.renderer import AudioPlayers
from flowloom_audio.tasks import Clone, ConvertVoice, FromRecording, Synthesise
from flowloom_audio.views import AddNoise


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data():
    return ToySpeech(voices=3, takes=3, prompt=0.128)


@pytest.fixture(scope="module")
def flow(data):
    torch.manual_seed(0)
    codec = LogMel(data.spec, bands=8, iterations=4)
    codec.fit(data)
    network = SpeechTransformer(codec.spec, width=16, depth=1, heads=2, ignore=["speaker"])
    for p in network.parameters():  # zero-initialised heads would answer nothing, small ones hear no voice
        torch.nn.init.normal_(p, std=0.2)
    objective = SpeechMatching(codec.spec, condition_dropout=0.1, ignore=["speaker"])
    return fl.Flow(
        network, objective=objective, codec=codec, spec=codec.spec, solver=fl.solvers.Midpoint(steps=24)
    )


def test_what_a_row_says_is_an_example_of_what_to_say(data):
    words = Synthesise().example(data)
    assert words
    assert torch.equal(
        Synthesise().read(words, data, 2).cond["text"][0], data.take(torch.arange(1)).cond["text"][0]
    )


def test_another_voice_says_the_same(data):
    asked, truth = ConvertVoice().pose(data, 6, draws())
    assert (asked.cond["own_speaker"] != asked.cond["speaker"]).all()
    assert torch.equal(asked.cond["prompt"], truth.cond["prompt"])
    assert torch.equal(asked.cond["text"], truth.cond["text"])
    # Every word is there in every voice, so that the truth is a recording of it and not of some other word.
    every = data.all()
    for x, text in zip(truth.x, truth.cond["text"], strict=True):
        row = int((every.x == x).all(1).nonzero()[0, 0])
        assert torch.equal(every.cond["text"][row], text)


def test_inversion_under_the_same_voice_gives_the_recording_back(flow, data):
    asked, _ = ConvertVoice().pose(data, 4, draws())
    own = {name: asked.cond[f"own_{name}"] for name in ("prompt", "speaker")}
    same = Examples(asked.x, {**asked.cond, **own}, asked.layout)
    back, other = (ConvertVoice()(flow, one).x for one in (same, asked))
    states = flow.encode(
        Examples(asked.x, {k: v for k, v in asked.cond.items() if k in data.spec.conditions})
    )
    through = flow.decode(states).x
    kept = (back - through).square().mean().sqrt() / through.square().mean().sqrt()
    changed = (other - through).square().mean().sqrt() / through.square().mean().sqrt()
    assert kept < 0.1
    assert changed > 2 * kept


def test_one_voice_has_nobody_to_become():
    with pytest.raises(IncompatibleError, match="another speaker"):
        ConvertVoice().pose(ToySpeech(voices=1, takes=3, prompt=0.128), 2, draws())


def test_voices_that_training_never_heard_are_cloned(digits):
    data = SpokenDigits(digits, seconds=1.024, prompt=0.3, unseen=1)
    asked, truth = Clone().pose(data.split("test"), 5, draws())
    cid = data.names.index("cid")
    assert set(truth.cond["speaker"].tolist()) == set(asked.cond["speaker"].tolist()) == {cid}
    prompts = Clone().untouched(asked)
    assert prompts.x.shape == truth.x.shape
    assert prompts.layout.real.sum(1).tolist() == [2400] * 5
    assert torch.equal(prompts.x[prompts.layout.real].view(5, -1), asked.cond["prompt"])
    long = Examples(asked.x[:, :1600], asked.cond)  # rows that are shorter than a prompt
    assert torch.equal(Clone().untouched(long).x, asked.cond["prompt"][:, :1600])
    with pytest.raises(DataError, match="has no split 'unseen'; it has: train, test"):
        Clone().pose(SpokenDigits(digits, prompt=0.3), 5, draws())


def test_a_clone_that_is_given_no_prompt_has_a_voice_of_the_split(digits):
    data = SpokenDigits(digits, seconds=1.024, prompt=0.3, unseen=1)
    unseen = data.split("unseen").all().cond["prompt"]
    said = Clone().read("two", data.split("test"), 4).cond["prompt"]
    assert all(bool((unseen == one).all(1).any()) for one in said)
    with pytest.raises(DataError, match="has no split 'nope'"):
        Clone(split="nope").read("two", data, 1)


def test_prompts_are_judged_as_rows_of_their_own_length(digits):
    data = SpokenDigits(digits, seconds=1.024, prompt=0.3, unseen=1)
    asked, truth = Clone().pose(data.split("test"), 5, draws())
    judge = SpeechJudge(steps=2)
    judge.fit(data)
    assert set(judge(Clone().untouched(asked), truth)) == {"judge_words", "judge_speaker"}


def test_a_row_by_its_number_has_a_prompt_of_its_own(data, tmp_path):
    with pytest.raises(IncompatibleError, match="a row of the data has a prompt of its own"):
        FromRecording(prompt=tmp_path / "voice.wav").read("0", data, 1)


def test_a_noisy_recording_is_an_answer_too(data):
    from flowloom.views import Viewed

    noisy = Viewed(data, [AddNoise()])
    asked, truth = Predict().pose(noisy, 3, draws())
    same = Predict().untouched(asked)
    assert same is not None
    assert torch.equal(same.x, truth.cond["degraded"])
    assert ConvertVoice().untouched(truth) is truth


def test_question_answer_and_truth_are_heard(data):
    (figure,) = AudioPlayers(data.spec).answers(*(data.take(torch.arange(2)).laid_out(data.spec),) * 3)
    page = figure.data.decode()
    assert page.count("<audio") == 6
    assert "<th" in page
    (without,) = AudioPlayers(data.spec).answers(None, *(data.take(torch.arange(2)),) * 2)
    assert without.data.decode().count("<audio") == 4
