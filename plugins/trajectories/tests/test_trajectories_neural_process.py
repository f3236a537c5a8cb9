"""Functions: no order among points, an empty context, exact posteriors, one time for every target."""

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.objectives import Batch, Step
from flowloom_registry import load_recipe
from flowloom_trajectories.neural_process import (
    DifferenceScore,
    FactorisedGaussian,
    Functions,
    PixelFunctions,
    ProcessFlow,
    ProcessGap,
    ProcessTransformer,
)
from flowloom_trajectories.neural_process.functions import kernel_matrix

SMALL = {"width": 16, "depth": 2, "heads": 2, "hidden": 16}


def network(data, **more):
    torch.manual_seed(0)
    return ProcessTransformer(data.spec, **SMALL, **more).double()


def asked(data, n=6):
    rows = data.take(torch.arange(n))
    cond = {k: v.double() if v.is_floating_point() else v for k, v in rows.cond.items() if k != "kernel"}
    return rows.x.double(), cond


def test_targets_that_change_places_change_answers_with_them():
    data = Functions(20, context=(2, 5), targets=(6, 6))
    model, (x, cond) = network(data), asked(data)
    order, t = torch.randperm(6), torch.rand(6, 6).double()
    moved = {**cond, "places": cond["places"][:, order], "context": cond["context"].flip(1)}
    out = model(x, t, **cond)[:, order]
    torch.testing.assert_close(model(x[:, order], t[:, order], **moved), out, atol=1e-12, rtol=0)


def test_what_is_no_point_of_a_context_reaches_nobody():
    data = Functions(20, context=(0, 4), targets=(3, 3))
    model, (x, cond) = network(data), asked(data)
    t = torch.full((6,), 0.4).double()
    spoiled = torch.where(cond["context"][..., 2:] > 0, cond["context"], torch.nan)
    spoiled[..., 2] = cond["context"][..., 2]
    assert torch.equal(model(x, t, **{**cond, "context": spoiled}), model(x, t, **cond))
    empty = {**cond, "context": torch.zeros_like(cond["context"])}
    none = {k: v for k, v in cond.items() if k != "context"}
    torch.testing.assert_close(model(x, t, **empty), model(x, t, **none), atol=1e-12, rtol=0)
    assert model(x, t, **empty).isfinite().all()


def test_a_context_matters_and_neighbours_do():
    data = Functions(20, context=(4, 4), targets=(5, 5))
    model, (x, cond) = network(data), asked(data)
    t, out = torch.full((6,), 0.4).double(), None
    out = model(x, t, **cond)
    other = {**cond, "context": cond["context"] * torch.tensor([1.0, -1.0, 1.0])}
    assert (model(x, t, **other) - out).abs().max() > 1e-4
    moved = x.clone()
    moved[:, 1] += 1
    assert (model(moved, t, **cond) - out)[:, 0].abs().max() > 1e-4  # joint, not one by one


def test_every_target_has_its_time():
    data, seen = Functions(40, context=(0, 3), targets=(4, 4)), []

    class Spy(torch.nn.Module):
        def forward(self, x, t, /, **cond):
            seen.append((x, t))
            return x

    rows = data.all()
    batch = Batch(torch.zeros_like(rows.x), torch.ones_like(rows.x), {})
    asked = ProcessFlow().ask(Spy(), batch, Step(generator=torch.Generator().manual_seed(0)))
    (x, t), _ = seen[0], asked
    assert t.shape == (40, 4)
    assert t.std(1).min() > 0
    torch.testing.assert_close(x[..., 0], t)  # between 0 and 1 the state is the time itself


@pytest.mark.parametrize("kernel", ["rbf", "matern", "periodic"])
def test_draws_have_the_covariance_of_their_kernel(kernel):
    x = torch.tensor([[-0.7, 0.0, 0.35]]).double()
    size, scale = torch.tensor([0.5]).double(), torch.tensor([0.8]).double()
    matrix = kernel_matrix(kernel, x, size, scale)[0]
    assert torch.linalg.eigvalsh(matrix).min() > 0
    torch.testing.assert_close(matrix.diagonal(), torch.full((3,), 0.64).double())
    if kernel == "periodic":
        shifted = kernel_matrix(kernel, x + torch.tensor([0, 1.0, 0]), size, scale)[0]
        torch.testing.assert_close(shifted, matrix)


def test_the_posterior_is_that_of_all_together():
    """log p(targets, context) = log p(context) + log p(targets | context); of none, the prior."""
    data = Functions(8, context=(0, 4), targets=(1, 5), noise=0.1)
    rows = data.all()
    for i, (mean, cov) in enumerate(data.posterior(rows)):
        told = rows.cond["context"][i]
        told, there = told[told[:, 2] > 0], rows.cond["asked"][i]
        x = torch.cat([told[:, 0], rows.cond["places"][i, there, 0]])
        y = torch.cat([told[:, 1], rows.x[i, there, 0]]).double()
        whole = data.covariance(x[None], rows.cond["kernel"][i : i + 1])[0]
        c = len(told)
        normal = torch.distributions.MultivariateNormal
        joint = normal(torch.zeros(len(x)).double(), whole).log_prob(y)
        if c:
            joint = joint - normal(torch.zeros(c).double(), whole[:c, :c]).log_prob(y[:c])
        torch.testing.assert_close(normal(mean, cov).log_prob(y[c:]), joint, atol=1e-6, rtol=1e-6)


def test_differences_see_what_marginals_do_not():
    draws = torch.Generator().manual_seed(0)

    def smooth(n):
        return torch.randn(n, 1, 1, generator=draws).expand(-1, 6, 1) + 0.01 * torch.randn(
            n, 6, 1, generator=draws
        )

    real, joint = Examples(smooth(200)), Examples(smooth(200 * 8))
    rough = Examples(torch.randn(200 * 8, 6, 1, generator=draws))
    metric = DifferenceScore(8)
    assert metric(joint, real)["difference_score"] < 0.1 * metric(rough, real)["difference_score"]
    with pytest.raises(IncompatibleError, match="at least two places"):
        metric(Examples(torch.zeros(8, 1, 1)), Examples(torch.zeros(1, 1, 1)))


def test_the_gap_of_a_factorised_answer_by_hand():
    """Mean 0 and deviation 1 everywhere: its likelihood is the standard normal's, padding not counted."""
    data = Functions(30, context=(0, 3), targets=(1, 4), noise=0.1)

    class Standard(torch.nn.Module):
        spec = data.spec

        def __init__(self):
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x, t, /, **cond):
            return torch.zeros(*x.shape[:-1], 2) + self.nothing

    flow = fl.Flow(Standard(), objective=FactorisedGaussian(), solver=fl.solvers.FlowMapSteps(1))
    rows = data.all()
    found = ProcessGap(data)(flow, rows)
    there = rows.x[..., 0][rows.cond["asked"]]
    wanted = torch.distributions.Normal(0.0, 1.0).log_prob(there).mean()
    assert abs(found["log_likelihood"] - float(wanted)) < 1e-5
    assert found["gp_gap"] == found["exact_log_likelihood"] - found["log_likelihood"]
    x = flow.sample(30, seed=0, **{k: v for k, v in rows.cond.items() if k != "kernel"})
    assert x.isfinite().all()


def test_bad_ranges_are_told():
    with pytest.raises(DataError, match="targets is a range of numbers from 1 on, got 0 to 3"):
        Functions(targets=(0, 3))
    with pytest.raises(DataError, match="lengthscale is a range of positive numbers"):
        Functions(lengthscale=(0.0, 1.0))
    with pytest.raises(IncompatibleError, match="more than"):
        PixelFunctions(fl.data.Tensors(torch.zeros(3, 4, 4)), targets=(20, 20))


def test_the_papers_size():
    """Width 64, 6 layers of 4 heads, 128 inside, 20 waves of place and of time: 0.22 million parameters."""
    options = load_recipe("neural-process-full")
    assert options is not None
    with torch.device("meta"):
        model = ProcessTransformer(Functions().spec)
    layer = 4 * 64 * 64 + 4 * 64 + 2 * 64 * 128 + 128 + 64 + 4 * 64
    ends = (41 * 64 + 64 + 64 * 64 + 64) + (2 * 64 + 64 * 64 + 64 + 64 + 1)
    assert sum(p.numel() for p in model.parameters()) == 6 * layer + ends
