"""Views: what they make of examples, in training and in judging."""

from __future__ import annotations

import pytest
import torch

import flowloom as fl
from flowloom.data import EightGaussians, Examples, Molecules, Tensors
from flowloom.errors import IncompatibleError
from flowloom.training import Rows, TrainConfig, load_checkpoint, save_checkpoint
from flowloom.views import Context, Mask, Noisy, Viewed, Window, spec_through, through


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_mask_gives_a_uniform_share_of_any_entries_or_of_the_first_ones():
    x = Examples(torch.randn(4000, 10))
    share = Mask(0.2, 0.8)(x, draws()).cond["given"].float().mean(1)
    assert float(share.mean()) == pytest.approx(0.5, abs=0.01)
    # Uniform share (variance 0.6^2 / 12) and, within a row, binomial noise (E s(1 - s) / 10).
    wanted = 0.6**2 / 12 + (0.25 - 0.6**2 / 12) / 10
    assert float(share.var()) == pytest.approx(wanted, rel=0.08)
    first = Mask(prefix=1.0)(x, draws()).cond["given"]
    assert torch.equal(first.long().cummin(1).values, first.long())
    assert {int(n) for n in first.sum(1)} == set(range(9))


def test_a_mask_marks_whole_points_leaves_padding_out_and_hides_the_rest():
    data = Molecules(300)
    view = Mask(0.3, 0.9, dims=1, of="pos", name="known")
    spec = view.spec(data.spec)
    seen = through([view], data.all(), data.spec, draws())
    given, values, real = seen.cond["known"], seen.cond["known_values"], data.all().laid_out(data.spec).layout
    assert spec.conditions["known"].of == "pos"
    assert given.shape == real.real["pos"].shape
    assert not bool((given & ~real.real["pos"]).any())
    assert torch.equal(values[given], seen.x["pos"][given])
    assert not bool(values[~given].any())
    assert fl.layout.Layout.of(spec, seen.cond).given["pos"].any()


def test_a_mask_over_more_dimensions_than_there_are_is_refused():
    assert Mask(dims=2).spec(fl.Spec((4, 3))).conditions["given"].shape == (4, 3)
    with pytest.raises(
        IncompatibleError, match=r"over 3 leading dimensions \(dims\); examples have 2, shape \(4, 3\)"
    ):
        Mask(dims=3).spec(fl.Spec((4, 3)))


def test_a_context_is_what_comes_first_and_the_state_is_what_follows():
    x = torch.arange(24.0).reshape(2, 6, 2)
    data = Tensors(x, {"label": torch.tensor([0, 1])})
    spec = Context(4).spec(data.spec)
    seen = Context(4)(data.all(), draws())
    assert spec.shape == (2, 2)
    assert spec.conditions["context"].shape == (4, 2)
    assert torch.equal(torch.cat([seen.cond["context"], seen.x], 1), x)
    tokens = Tensors(torch.randint(5, (3, 6)), spec=fl.Spec((6,), vocab=5))
    assert Context(2).spec(tokens.spec).conditions["context"].classes == 5
    with pytest.raises(IncompatibleError, match="leaves nothing of examples of shape"):
        Context(6).spec(data.spec)
    with pytest.raises(IncompatibleError, match="put the view before the one that marks them"):
        spec_through([Mask(), Context(2)], data.spec)
    with pytest.raises(
        IncompatibleError, match="view context is of a state that is one tensor; the state here has p"
    ):
        Context(1).spec(Molecules(4).spec)


def test_a_window_is_a_stretch_and_every_start_is_as_likely():
    x = torch.arange(10.0).repeat(5000, 1)
    seen = Window(4)(Examples(x), draws()).x
    assert torch.equal(seen, seen[:, :1] + torch.arange(4.0))
    counts = torch.bincount(seen[:, 0].long(), minlength=7)
    assert len(counts) == 7
    assert float((counts - 5000 / 7).abs().max()) < 4 * (5000 / 7) ** 0.5


def test_a_noisy_observation_has_the_standard_deviation_of_its_row():
    x = torch.full((500, 400), 2.0)
    off = Noisy(0.8, least=0.2)(Examples(x), draws()).cond["observed"] - x
    std = off.std(1)
    assert float(std.min()) == pytest.approx(0.2, abs=0.03)
    assert float(std.max()) == pytest.approx(0.8, abs=0.08)
    assert float(std.mean()) == pytest.approx(0.5, abs=0.03)
    with pytest.raises(IncompatibleError, match="view noisy adds to numbers"):
        Noisy().spec(fl.Spec((3,), vocab=4))


def test_judged_data_are_the_same_examples_in_any_order_and_number():
    data = Viewed(EightGaussians(200), [Mask(), Noisy(0.1)], seed=3)
    whole = data.all()
    rows = torch.tensor([7, 150, 3])
    some = data.take(rows)
    for name, value in some.cond.items():
        assert torch.equal(value, whole.cond[name][rows]), name
    test = data.split("test")
    assert not torch.equal(test.all().cond["given"], whole.cond["given"])
    assert torch.equal(test.all().cond["given"], data.split("test").all().cond["given"])


class Doubled(Noisy):
    augments = True

    def spec(self, spec):
        return spec

    def __call__(self, examples, generator):
        return Examples(
            examples.x * (1 + torch.randint(2, (len(examples), 1), generator=generator)), examples.cond
        )


def test_augmentations_are_for_training_alone():
    data = EightGaussians(64)
    assert torch.equal(Viewed(data, [Doubled()]).all().x, data.all().x)
    feed = Rows(data, [Doubled()])
    flow = fl.Flow(fl.models.MLP(feed.spec, width=8, depth=1))
    trainer = flow.trainer(feed, TrainConfig(steps=1, batch=64))
    x = trainer.batches[0].x1
    longer = x.norm(dim=1) > 1.5 * data.all().x.norm(dim=1).max() / 1.5
    assert bool(longer.any())


def make(seed, prefetch):
    data = EightGaussians(500)
    feed = Rows(data, [Mask(most=1.0), Noisy(0.3)])
    torch.manual_seed(seed)
    flow = fl.Flow(fl.models.MLP(feed.spec, width=16, depth=1), spec=feed.spec)
    return flow.trainer(feed, TrainConfig(steps=9, batch=16, log_every=1, prefetch=prefetch), seed=4)


def test_views_draw_by_seed_and_step_so_a_run_goes_on_with_the_same_bits(tmp_path):
    whole = make(0, "off")
    list(whole.run())
    first = make(0, "on")
    list(first.run(4))
    save_checkpoint(first, tmp_path)
    first.close()
    second = make(1, "on")
    load_checkpoint(second, tmp_path / "step-00000004")
    list(second.run())
    second.close()
    for (name, a), (_, b) in zip(whole.flow.named_parameters(), second.flow.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_flow_under_a_mask_completes_what_is_given():
    data = EightGaussians(2000)
    feed = Rows(data, [Mask(most=1.0)])
    torch.manual_seed(0)
    flow = fl.Flow(fl.models.MLP(feed.spec, width=32, depth=2), spec=feed.spec)
    flow.fit(feed, steps=30, batch=64)
    asked = Viewed(data.split("test"), feed.views).take(torch.arange(50))
    drawn = flow.sample(50, seed=0, **asked.cond)
    given = asked.cond["given"]
    torch.testing.assert_close(drawn[given], asked.x[given])
    assert bool((drawn[~given] != asked.x[~given]).all())


def test_a_prefix_is_a_share_of_what_is_real():
    """Else most of a short row of a ragged set is given whole, whatever ``most`` says."""
    real = torch.arange(10) < torch.randint(2, 11, (500, 1), generator=draws())
    data = Tensors(torch.randn(500, 10, 2, generator=draws()), {"real": real}, roles={"real": "real"})
    told = Mask(0.0, 0.5, prefix=1.0, dims=1)(data.all().laid_out(data.spec), draws()).cond["given"]
    assert float((told.sum(1) / real.sum(1)).max()) <= 0.5
    assert bool((told[:, 1:] <= told[:, :-1]).all())
    assert not bool((told & ~real).any())
