"""What is asked of generators: bounds and densities, dilution, replay, the best of several, the game."""

import math

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples, Tensors
from flowloom.draw import Draw
from flowloom.energies import GaussianMixture
from flowloom.errors import DataError, IncompatibleError
from flowloom.scores import Likelihood
from flowloom.trained import Trained
from flowloom_foundations.question.best_of import BestOf
from flowloom_foundations.question.game import CriticalLanguage, FirstConsistent, Multiples, lattice, play
from flowloom_foundations.question.membership import Membership
from flowloom_foundations.question.still import Diluted, Still
from flowloom_foundations.question.vae import Decode, EvidenceBound, GaussianVAE, LowerBound
from flowloom_registry import build, catalog, load_recipe
from flowloom_registry.studies.design import read_design
from flowloom_registry.studies.experiment import require_sound

PLANE = fl.Spec((2,))


@pytest.fixture
def still():
    """A flow whose samples and density are those of N(0, I)."""
    return fl.Flow(Still(PLANE), solver=fl.solvers.Euler(1))


def test_the_bound_is_below_the_density_and_tight_where_the_posterior_is_right(draws):
    """Of a decoder W z + b with noise s the density is known: N(b, W W' + s^2)."""
    torch.manual_seed(0)
    vae = GaussianVAE(PLANE, width=8).double()
    for net in (vae.encoder, vae.decoder):
        for layer in net:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.data.zero_()
                layer.bias.data.zero_()
    vae.log_scale.data.fill_(math.log(0.5))
    x = torch.randn(4000, 2, generator=draws, dtype=torch.float64)
    exact = torch.distributions.Normal(0, 0.5).log_prob(x).sum(1)  # a decoder that says 0
    told = vae.bound(x, Draw.like(x, draws))
    assert torch.allclose(told, exact), "the posterior is the prior, as it should be"
    vae.encoder[-1].bias.data.fill_(0.7)
    worse = vae.bound(x, Draw.like(x, draws))
    mean, log_std = 0.7, 0.7
    cost = 2 * (0.5 * (mean**2 + math.exp(2 * log_std) - 1) - log_std)
    assert torch.allclose(told - worse, torch.full_like(told, cost))


def test_a_decoder_draws_about_its_means_and_has_no_density(draws):
    torch.manual_seed(0)
    vae = GaussianVAE(PLANE, width=8)
    vae.log_scale.data.fill_(math.log(0.3))
    flow = fl.Flow(vae, objective=EvidenceBound(), solver=Decode())
    z = torch.randn(3000, 2, generator=draws)
    x = flow.solve(x0=z, seed=0).x
    off = (x - vae(z, torch.zeros(3000))).detach()
    assert float(off.std()) == pytest.approx(0.3, rel=0.05)
    assert torch.equal(x, flow.solve(x0=z, seed=0).x)
    assert not torch.equal(x, flow.solve(x0=z, seed=1).x)
    with pytest.raises(IncompatibleError):
        flow.log_prob(x)
    with pytest.raises(IncompatibleError):
        Likelihood().require(flow)
    assert set(LowerBound()(flow, Examples(x))) == {"nll_bound"}, "no name that exact densities have"


def test_a_gan_and_a_memoriser_have_no_density():
    pytest.importorskip("flowloom_fewstep")
    gan = build(load_recipe("adversarial-flow-ring"))
    flow = fl.Flow(gan["model"], objective=gan["objective"], source=gan["source"], solver=gan["solver"])
    with pytest.raises(IncompatibleError, match="jumps and has no velocity"):
        flow.log_prob(torch.zeros(2, 2), solver=fl.solvers.Euler(4))
    rows = fl.sources.FromDataset(Tensors(torch.randn(5, 2)))
    with pytest.raises(IncompatibleError, match="has no density"):
        fl.Flow(Still(PLANE), source=rows, solver=fl.solvers.Euler(1)).log_prob(torch.zeros(2, 2))


def test_a_diluted_flow_loses_the_log_of_its_share_and_its_samples(still, draws):
    source = Diluted(Trained(still, PLANE), share=0.01, std=5.0)
    x = torch.randn(500, 2, generator=draws)
    q = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)
    noise = torch.distributions.Normal(0.0, 5.0).log_prob(x).sum(1)
    wanted = torch.logaddexp(q + math.log(0.01), noise + math.log(0.99))
    assert torch.allclose(source.log_prob(x), wanted, atol=1e-4)
    assert float((q - wanted).max()) <= math.log(100) + 1e-4
    drawn = source.sample((20000, 2), Draw(draws))
    assert float(drawn.square().mean()) == pytest.approx(0.01 + 0.99 * 25, rel=0.05)
    half = Diluted(Trained(still, PLANE), share=0.5, std=5.0).sample((20000, 2), Draw(draws))
    assert float(half.square().mean()) == pytest.approx(13, rel=0.05)


def test_the_best_of_several_is_as_far_as_theory_says(still):
    """Rewards of a line in a Gaussian are normal: the largest of n is where the tables say."""

    class Line(GaussianMixture):
        def __call__(self, x, cond):
            return -x[:, 0]

    found = BestOf(Line(), n=8, kept=2000)(still, Examples(torch.zeros(1, 2)), seed=0)
    assert found["gain"] == pytest.approx(1.4236, abs=0.05)
    assert found["kl_exact"] == pytest.approx(math.log(8) - 7 / 8)
    assert found["kl"] == pytest.approx(found["kl_exact"], abs=0.05)
    one = BestOf(Line(), n=1, kept=2000)(still, Examples(torch.zeros(1, 2)), seed=0)
    assert abs(one["gain"]) < 0.1
    assert one["kl"] == 0
    with pytest.raises(
        IncompatibleError, match=r"score best-of-n has .* energy GaussianMixture is of .*\(1,\)"
    ):
        BestOf(GaussianMixture([[0.0]])).require(still)


def test_copies_give_training_data_away(draws):
    train, held = torch.randn(300, 2, generator=draws), torch.randn(300, 2, generator=draws)
    judge = Membership()
    judge.fit(Tensors(train))
    assert judge(Examples(train), Examples(held))["membership_auc"] > 0.99
    fresh = Examples(torch.randn(300, 2, generator=draws))
    assert judge(fresh, Examples(held))["membership_auc"] == pytest.approx(0.5, abs=0.06)
    lost = fresh.x.clone()
    lost[0, 0] = torch.nan
    assert math.isnan(judge(Examples(lost), Examples(held))["membership_auc"])
    # Some rows of held-out examples that are sorted tell the same.
    few = Membership(rows=100)
    few.fit(Tensors(train))
    order = held.norm(dim=1).argsort(descending=True)
    assert few(fresh, Examples(held[order]))["membership_auc"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target", [Multiples(6, 30), Multiples(8, 60), Multiples(5, 1)])
def test_generation_settles_where_greed_does_not(target, seed):
    languages = lattice()
    assert target in languages
    found = play(CriticalLanguage(languages), target, steps=120, seed=seed)
    assert found.settled < 60
    greedy = play(FirstConsistent(languages), target, steps=120, seed=seed)
    assert greedy.settled > 110, "a language that holds the true one is never refuted"
    assert len(greedy.wrong) > 2 * len(found.wrong)


def test_a_learner_that_is_told_more_languages_than_it_has_seen_strings_is_no_learner():
    """What it says depends on what was shown alone: of two targets with one beginning it says one thing."""
    learner = CriticalLanguage(lattice())
    assert learner.say([30, 60]) == learner.say([30, 60])
    assert learner.say([7]) not in (7,)


def test_families_have_as_many_parameters_and_their_recipes_are_sound():
    cells = read_design("generative-question", catalog=catalog(), seeds=[0]).cells
    require_sound(cells)
    assert [cell.labels["arm"] for cell in cells] == [
        *("autoregressive", "vae", "normalising-flow", "gan", "diffusion", "flow")
    ]
    for cell in cells:
        if cell.lacking:
            continue
        built = build(cell.recipe)
        networks = [built["model"], built["objective"]]
        count = sum(p.numel() for network in networks for p in network.parameters())
        assert 18_500 < count < 21_500, (cell.title, count)


def test_an_autoencoder_without_width_and_a_look_at_no_rows_are_told():
    with pytest.raises(ValueError, match="width must be at least 1"):
        GaussianVAE(PLANE, width=0)
    for rows in (0, -1):
        with pytest.raises(DataError, match=f"count from 1, got {rows}"):
            Membership(rows=rows).fit(Tensors(torch.zeros(4, 2)))
