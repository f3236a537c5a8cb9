"""Voicebox's network: its size at the paper's scale, what a slope of attention does, and long skips."""

import pytest
import torch

from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom_audio.models import Voicebox
from flowloom_registry import load_recipe
from flowloom_registry.config.nodes import plain


def frames(length=12, bands=4, **more):
    return Spec((length, bands), conditions={"known": Condition(shape=(length, bands)), **more})


def test_the_recipe_has_the_size_of_the_paper():
    """330 million (2310.16338): blocks, half as many joins, and a grouped convolution of 31."""
    said = dict(plain(load_recipe("speechflow-librilight").tree.entries["model"].node))
    assert said.pop("use") == "voicebox"
    spec = frames(1600, 80, text=Condition(80, (400,)), speaker=Condition(100))
    with torch.device("meta"):
        model = Voicebox(spec, **said)
    d = 1024
    block = 4 * d * d + 4 * d + 8 * d * d + 5 * d + 4 * d
    whole = 24 * block + 12 * (2 * d * d + d) + (31 * d * d // 16 + d) + (160 * d + d) + 80
    whole += 2 * d + (80 * d + 80)
    assert sum(p.numel() for p in model.parameters()) == whole
    assert whole == pytest.approx(330e6, rel=1e-3)


def test_attention_falls_with_the_distance_either_way_and_the_time_is_near_to_all():
    model = Voicebox(frames(), 16, 2, 4, groups=4)
    real = torch.ones(2, 12, dtype=torch.bool)
    real[1, 9:] = False
    bias = model._bias(torch.zeros(2, 13, 16), real)
    assert bias.shape == (2, 4, 13, 13)
    slopes = torch.tensor([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8])
    assert torch.allclose(bias[0, :, 3, 7], -4 * slopes)
    assert torch.allclose(bias[0, :, 7, 3], -4 * slopes)
    assert not bias[0, :, 0].any()
    assert not bias[0, :, :, 0].any()
    assert bool((bias[1, :, :, 10:] == -torch.inf).all())


def test_the_last_block_reads_what_the_first_one_read():
    torch.manual_seed(0)
    model = Voicebox(frames(), 16, 4, 2, groups=4)
    with torch.no_grad():
        for join in model.joins[:-1]:
            join.weight.zero_()
        model.joins[-1].weight[:, :16].zero_()  # of what came through the blocks nothing is left
        first = model.blocks[0]
        x, t, known = torch.randn(1, 12, 4), torch.rand(1), torch.randn(1, 12, 4)
        before = model(x, t, known=known)
        for p in first.parameters():
            p.add_(1.0)
        assert torch.equal(model(x, t, known=known), before)
        model.enter.weight.add_(1.0)
        assert not torch.allclose(model(x, t, known=known), before)


def test_what_it_cannot_hear_is_told():
    spec = frames(text=Condition(30, (8,)))
    with pytest.raises(IncompatibleError, match="'text' is none; name it in ignore"):
        Voicebox(spec, 16, 2, 2, groups=4)
    Voicebox(spec, 16, 2, 2, groups=4, ignore=["text"])
    with pytest.raises(IncompatibleError, match="depth 3 be even"):
        Voicebox(frames(), 16, 3, 2, groups=4)
