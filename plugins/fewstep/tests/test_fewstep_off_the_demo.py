"""Batches of one row, half precision, padding, and walks that begin late."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.draw import Draw
from flowloom.layout import Layout
from flowloom.models import Critic
from flowloom.objectives import Batch, Step
from flowloom.paths import AffinePath
from flowloom.solvers import FlowMapSteps
from flowloom.spec import Spec
from flowloom.times import LogitNormal, Uniform
from flowloom.trained import Trained
from flowloom_fewstep.adversarial_flow import AdversarialFlow
from flowloom_fewstep.blockwise import BlockwiseMLP
from flowloom_fewstep.blockwise_euler import BlockwiseEuler
from flowloom_fewstep.blockwise_field import BlockwiseField
from flowloom_fewstep.intervals import Intervals, gap_first
from flowloom_fewstep.jumps import JumpMap
from flowloom_fewstep.segments import Segments
from flowloom_fewstep.self_corrected import SelfCorrected
from flowloom_fewstep.soflow import SoFlow


@pytest.mark.parametrize(("n", "distinct"), [(1, 0.25), (2, 0.25), (3, 0.5), (1, 0.75)])
def test_small_batches_have_their_share_of_two_times(n, distinct, draws):
    law = Intervals(Uniform(), distinct)
    for sample in (law.sample, lambda n, draw: SoFlow(distinct=distinct).draw_times(n, draw, Step())):
        found = 0
        for _ in range(1000):
            s, t = sample(n, Draw(draws))
            found += int((t > s).sum())
        assert found / (1000 * n) == pytest.approx(distinct, abs=0.05)


def test_whole_shares_draw_nothing_more(draws):
    Intervals(Uniform(), 0.75).sample(8, Draw(draws))
    after = torch.rand(1, generator=draws)
    again = torch.Generator().manual_seed(0)
    torch.rand(16, generator=again)
    assert torch.equal(after, torch.rand(1, generator=again))


def test_gap_first_pairs_in_half_precision_have_the_same_law(draws):
    laws = LogitNormal(0.4), LogitNormal(-0.8)
    half = gap_first(*laws, 4000, Draw(draws, dtype=torch.bfloat16))
    single = gap_first(*laws, 4000, Draw(draws, dtype=torch.float32))
    assert half[0].dtype == torch.bfloat16
    for a, b in zip(half, single, strict=True):
        assert float(a.float().mean()) == pytest.approx(float(b.mean()), abs=0.02)


class Nothing(nn.Module):
    def forward(self, x, t, /, **cond):
        return 0 * x


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("steps", [3, 5, 6, 7])
def test_jumps_and_pieces_are_known_in_half_precision(dtype, steps):
    x = torch.ones(2, 2, dtype=dtype)
    assert torch.equal(FlowMapSteps(steps).solve(JumpMap(Nothing(), AffinePath(), "velocity", steps), x).x, x)
    with pytest.raises(fl.errors.SolverError):
        FlowMapSteps(steps - 1).solve(JumpMap(Nothing(), AffinePath(), "velocity", steps), x)
    begins = torch.tensor([k / steps for k in range(steps)], dtype=dtype)
    assert Segments(steps).which(begins).tolist() == list(range(steps))


def test_a_map_of_jumps_knows_its_source():
    source = fl.sources.Gaussian()

    class Any(Critic):
        def forward(self, x, t, /, **cond):
            return x.flatten(1).sum(1)

    assert AdversarialFlow(Any(), steps=None).field(Nothing(), source).source is source


def test_features_are_remembered_from_where_a_walk_begins():
    """The change that is added is that since the features were asked for, and nothing at first."""
    torch.manual_seed(0)
    blocks = BlockwiseMLP(Spec((2,)), segments=2, width=8, depth=1, features=4, trunk_width=8)
    told: list[torch.Tensor] = []
    velocity = blocks.velocity
    blocks.velocity = lambda x, t, features, cond: told.append(features) or velocity(x, t, features, cond)
    blocks.trunk = lambda x, t, cond: torch.zeros(len(x), 4)
    blocks.change = lambda x, t, cond: torch.ones(len(x), 4)
    x = torch.zeros(1, 2)
    BlockwiseEuler(2).solve(BlockwiseField(blocks, AffinePath()), x, span=(0.3, 1.0))
    # Of 0.3, 0.4, 0.5 and 0.75, two are beginnings; M (t - begun) is 0.2 and 0.5.
    assert [float(f[0, 0]) for f in told] == pytest.approx([0, 0.2, 0, 0.5], abs=1e-6)


def test_a_critic_sees_nothing_in_padding():
    seen: list[torch.Tensor] = []

    class Looking(Critic):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x, t, /, **cond):
            seen.append(x.detach())
            return self.scale * x.flatten(1).sum(1)

    spec = Spec((3,))
    network = fl.models.MLP(spec, width=8, depth=1)
    objective = SelfCorrected(Trained(fl.Flow(fl.models.MLP(spec, width=8, depth=1))), Looking())
    real = torch.tensor([[True, True, False]]).expand(4, 3)
    batch = Batch(torch.randn(4, 3), torch.randn(4, 3), layout=Layout(real=real))
    objective.critic_loss(network, batch)
    assert len(seen) == 2
    assert all(bool((x[:, 2] == 0).all()) for x in seen)
