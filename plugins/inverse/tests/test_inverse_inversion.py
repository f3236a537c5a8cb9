"""Inversion and FlowOpt on a flow whose sampler is linear."""

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples, Tensors
from flowloom_inverse.inversion import Invert, largest_rate
from flowloom_inverse.restore import Restore


def error(flow, data, **settings):
    task = Invert(**settings)
    asked, truth = task.pose(data, 50, torch.Generator().manual_seed(0))
    return float((task(flow, asked).x - truth.x).square().mean())


@pytest.fixture
def data(gaussian):
    _, mean, covariance = gaussian
    draws = torch.Generator().manual_seed(0)
    return Tensors(
        mean + torch.randn(200, 6, generator=draws, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    )


def test_flowopt_finds_the_noise_and_plain_inversion_does_not(gaussian, data):
    flow = gaussian[0]
    plain = error(flow, data, iterations=0, inversion="euler")
    finer = error(flow, data, iterations=0, inversion="euler", inversion_steps=160)
    found = error(flow, data, iterations=15, rate=0.5, inversion="euler")
    better = error(flow, data, iterations=0)
    assert found < 0.35 * finer < 0.35 * plain
    assert better < plain


def test_no_gradient_is_taken_and_evaluations_are_as_said(gaussian, data):
    flow, calls = gaussian[0], []
    flow.model.register_forward_hook(lambda _, inputs, out: calls.append(out.requires_grad))
    error(flow, data, steps=10, iterations=3, rate=0.3, inversion="euler")
    assert len(calls) == 10 + 3 * 10 + 10
    assert not any(calls)


def test_the_bound_separates_what_converges(gaussian, data):
    flow = gaussian[0]
    bound = largest_rate(flow, data.take(torch.arange(100)))
    start = error(flow, data, iterations=0, inversion="euler")
    assert error(flow, data, iterations=40, rate=0.5 * bound, inversion="euler") < 0.1 * start
    assert error(flow, data, iterations=40, rate=3.0 * bound, inversion="euler") > start


def test_a_question_does_not_tell_its_answer_to_the_flow(gaussian, data):
    from flowloom_inverse.operators import Masking
    from flowloom_inverse.restorers import FlowDPS

    task = Restore(Masking(), FlowDPS(5, consistency="exact"), noise=0.1)
    asked, truth = task.pose(data, 20, torch.Generator().manual_seed(0))
    seen = asked.cond["measured_by_seen"]
    assert not asked.cond["measured"][~seen].any()
    other = Examples(asked.x, {**asked.cond})
    answers = task(gaussian[0], other, seed=1)
    assert answers.x.shape == truth.x.shape
    assert isinstance(answers, fl.data.Examples)
