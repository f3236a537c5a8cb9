"""Jump processes on a toy of two tokens whose posterior is known (fm-guide e, discrete flow matching)."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from flowloom.errors import IncompatibleError
from flowloom.fields import NetworkField
from flowloom.geometry import Discrete
from flowloom.layout import Layout
from flowloom.objectives import PosteriorMatching
from flowloom.paths import AffinePath, MixturePath, Point
from flowloom.schedules import CondOT, Cosine, Polynomial
from flowloom.solvers import CTMCEuler
from flowloom.solvers.ctmc import TauLeaping
from flowloom.sources import Mask, Uniform
from flowloom.testing.oracles import JointPosterior, JointTable

N = 5000


def start(masked, n=N, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.full((n, 2), 3) if masked else torch.randint(3, (n, 2), generator=draws)


def path(masked, schedule=None):
    space = Discrete(3, mask=masked)
    return MixturePath(space, schedule, Mask(space) if masked else Uniform(space))


@pytest.mark.parametrize("masked", [True, False], ids=["mask", "uniform"])
@pytest.mark.parametrize("schedule", [CondOT(), Polynomial(2), Cosine()], ids=repr)
@pytest.mark.parametrize("solver", [CTMCEuler(128), TauLeaping(64)], ids=repr)
def test_the_exact_joint_is_reached(masked, schedule, solver):
    """Total variation at most 1.5 times that of N draws of the table itself, over three seeds."""
    joint = JointTable()
    floor = joint.floor(N, torch.Generator().manual_seed(9), deviations=0.0)
    field = JointPosterior(joint, path(masked, schedule))
    found = []
    for seed in range(3):
        x = solver.solve(field, start(masked, seed=seed), generator=torch.Generator().manual_seed(seed)).x
        found.append(joint.distance(x))
    assert sum(found) / 3 <= 1.5 * floor


@pytest.mark.parametrize("solver", [CTMCEuler(2), TauLeaping(2)], ids=repr)
def test_a_path_without_rates_is_refused_by_the_solver_s_own_name(solver):
    field = NetworkField(torch.nn.Identity(), "posterior", AffinePath())
    with pytest.raises(IncompatibleError, match=f"{type(solver).__name__} needs path: mixture"):
        solver.prepare(field)


def test_independent_tokens_would_not_pass():
    """The test above can fail: tokens drawn from their own marginals are far from the joint."""
    joint = JointTable()
    product = joint.table.sum(1)[:, None] * joint.table.sum(0)[None]
    x = JointTable(product).sample(N, torch.Generator().manual_seed(0))
    assert joint.distance(x) > 10 * joint.floor(N, torch.Generator().manual_seed(9), deviations=0.0)


@pytest.mark.parametrize("masked", [True, False], ids=["mask", "uniform"])
def test_marginals_on_the_way_are_those_of_the_path(masked):
    """At t = 0.25, 0.5 and 0.75, against ends drawn together and mixed by the path."""
    joint = JointTable()
    route = path(masked)
    field = JointPosterior(joint, route)
    vocab = 4 if masked else 3
    for t in (0.25, 0.5, 0.75):
        draws = torch.Generator().manual_seed(1)
        x = TauLeaping(64).solve(field, start(masked), span=(0.0, t), generator=draws).x
        x1 = joint.sample(4 * N, draws)
        truth = route.sample(start(masked, 4 * N, 2), x1, torch.full((4 * N,), t), generator=draws).x_t
        counts = [torch.bincount(v[:, 0] * vocab + v[:, 1], minlength=vocab**2) / len(v) for v in (x, truth)]
        assert float((counts[0] - counts[1]).abs().sum() / 2) < 0.035


def test_the_oracle_posterior_is_that_of_enumeration():
    """p(x1 | x_t) by counting draws of the path."""
    joint, draws = JointTable(), torch.Generator().manual_seed(0)
    for masked in (True, False):
        field = JointPosterior(joint, path(masked))
        x1 = joint.sample(200_000, draws)
        t = torch.full((200_000,), 0.6)
        x_t = field.path.sample(start(masked, 200_000, 3), x1, t, generator=draws).x_t
        probe = torch.tensor([[0, 1]]) if not masked else torch.tensor([[3, 1]])
        rows = (x_t == probe).all(1)
        wanted = torch.stack([torch.bincount(x1[rows][:, i], minlength=3) / rows.sum() for i in (0, 1)])
        found = field(probe, torch.full((1,), 0.6, dtype=torch.float64), {}).softmax(-1)[0]
        assert float((found - wanted).abs().max()) < 0.02


def test_ends_that_are_known_stay_known():
    """From the mask, a revealed token never changes again."""
    joint = JointTable()
    field = JointPosterior(joint, path(True))
    seen = []
    CTMCEuler(32).solve(
        field,
        start(True, 200),
        generator=torch.Generator().manual_seed(0),
        on_step=lambda x, t: seen.append(x),
    )
    for before, after in pairwise(seen):
        known = before < 3
        assert torch.equal(before[known], after[known])
    assert bool((seen[-1] < 3).all())


def test_one_step_draws_independent_tokens_from_the_first_posterior():
    joint = JointTable()
    field = JointPosterior(joint, path(True))
    x = CTMCEuler(1).solve(field, start(True), generator=torch.Generator().manual_seed(0)).x
    product = JointTable(joint.table.sum(1)[:, None] * joint.table.sum(0)[None])
    assert product.distance(x) <= product.floor(N, torch.Generator().manual_seed(9))


def test_low_temperature_picks_the_likeliest():
    logits = torch.tensor([0.0, 2.0, 1.0]).expand(50, 2, 3)

    class Fixed(torch.nn.Module):
        def forward(self, x, t, **cond):
            return logits

    field = NetworkField(Fixed(), "posterior", path(True))
    draws = torch.Generator().manual_seed(0)
    x = CTMCEuler(8, temperature=0.05).solve(field, torch.full((50, 2), 3), generator=draws).x
    assert bool((x == 1).all())


def test_a_jump_solver_needs_a_jump_path():
    class Net(torch.nn.Module):
        def forward(self, x, t, **cond):
            return x

    with pytest.raises(IncompatibleError, match="mixture"):
        CTMCEuler(4).solve(NetworkField(Net(), "posterior", AffinePath()), torch.zeros(2, 2))
    with pytest.raises(IncompatibleError, match="discrete"):
        MixturePath(AffinePath().geometry)


def test_tokens_have_no_directions():
    space, x = Discrete(3), torch.zeros(2, 2, dtype=torch.long)
    for call in (lambda: space.exp(x, x), lambda: space.log(x, x), lambda: space.to_tangent(x, x)):
        with pytest.raises(IncompatibleError, match="mixture"):
            call()


def test_masked_tokens_are_averaged_over_the_whole_row() -> None:
    """The unweighted loss of 2407.15595: what shows costs nothing, and its place still counts."""
    vocab, generator = 4, torch.Generator().manual_seed(0)
    space = Discrete(vocab)
    objective = PosteriorMatching(MixturePath(space, source=Mask(space)))
    logits = torch.randn(2, 5, vocab, generator=generator)
    x1 = torch.randint(vocab, (2, 5), generator=generator)
    waiting = torch.tensor([[True, False, False, True, False], [False] * 4 + [True]])
    x_t = torch.where(waiting, vocab, x1)
    nats = torch.nn.functional.cross_entropy(logits.transpose(1, 2), x1, reduction="none")
    point = Point(x_t, torch.tensor([0.5, 0.9]), None, x_t, x1)
    wanted = torch.stack([(nats[0, 0] + nats[0, 3]) / 5, nats[1, 4] / 5])
    found = objective.compare(logits, point, {})
    assert torch.allclose(objective.rows(found, point.t, None), wanted)
    prompt = torch.tensor([[False, True, False, True, False], [True] * 3 + [False] * 2])
    wanted = torch.stack([nats[0, 0] / 3, nats[1, 4] / 2])
    assert torch.allclose(objective.rows(found, point.t, Layout(given=prompt)), wanted)
