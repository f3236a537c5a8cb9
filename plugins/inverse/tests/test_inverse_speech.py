"""Gaps and clipping of sound: the view, the light network, and the linear predictor, on speech made here."""

import math
import shutil
import subprocess

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom_inverse.gaps import Gaps
from flowloom_inverse.operators import Clipping, Masking
from flowloom_inverse.piecewise import Piecewise
from flowloom_inverse.problem import Problem
from flowloom_inverse.restorers import Autoregressive, PseudoInverse, Smoothest


@pytest.fixture(scope="module", params=["vowels", "espeak-ng"])
def speech(request, tmp_path_factory):
    """Rows of 1,024 samples at 8 kHz, of root mean square 1: vowels, and espeak-ng where it is."""
    if request.param == "espeak-ng":
        if not shutil.which("espeak-ng"):
            pytest.skip("espeak-ng is not installed")
        from scipy.io import wavfile
        from scipy.signal import resample_poly

        file = tmp_path_factory.mktemp("said") / "said.wav"
        subprocess.run(["espeak-ng", "-w", str(file), "one two three four five six seven"], check=True)
        rate, wave = wavfile.read(file)
        wave = torch.from_numpy(resample_poly(wave.astype("float64"), 8000, rate).copy())
        rows = wave[: len(wave) // 1024 * 1024].reshape(-1, 1024)
    else:
        time, pitch = torch.arange(1024).double() / 8000, torch.linspace(90, 220, 12).double()[:, None]
        rows = sum((2 * math.pi * k * pitch * time).sin() / k for k in range(1, 12))
    rows = rows - rows.mean(1, keepdim=True)
    size = rows.square().mean(1, keepdim=True).sqrt()
    kept = size[:, 0] > 0.2 * size.amax()
    return rows[kept] / size[kept]


def posed(rows, operator, noise=0.0):
    draws = torch.Generator().manual_seed(0)
    flow = fl.Flow(Piecewise(Spec((rows.shape[1],)), 256, width=8, depth=1).double())
    drawn = operator.draw(Examples(rows), flow.spec, draws)
    y = operator(rows, drawn) + noise * torch.randn(rows.shape, generator=draws, dtype=rows.dtype)
    seen = operator.measured(y, drawn)
    return Problem(flow, operator, y if seen is None else y * seen, drawn, noise)


def error(problem, rows, restorer):
    answer = problem.flow.solve(len(rows), solver=restorer.of(problem), seed=0).x
    assert answer.isfinite().all()
    return float((answer - rows).square().mean())


def test_a_linear_predictor_fills_gaps_of_speech(speech, request):
    problem = posed(speech, Masking([Gaps(3, 48)]))
    rules = (Smoothest(1e-3), PseudoInverse())
    # Consonants, which only a program says, are not to be predicted from what is around them.
    most = 0.5 if "vowels" in request.node.name else 0.9
    assert error(problem, speech, Autoregressive()) < most * min(error(problem, speech, by) for by in rules)


def test_it_finds_tones_exactly():
    time = torch.arange(512).double()
    rows = torch.stack([(0.3 * time).sin() + 0.5 * (1.1 * time).cos(), (0.7 * time).sin()])
    problem = posed(rows, Masking([Gaps(2, 30)]))
    assert error(problem, rows, Autoregressive(8, iterations=30, ridge=1e-9)) < 1e-2


def test_soft_sounds_are_filled_as_loud_ones():
    time = torch.arange(512).double()
    rows = (0.3 * time).sin()[None] * torch.tensor([[1.0], [1e-9], [0.0]])
    problem = posed(rows, Masking([Gaps(2, 30)]))
    rule = Autoregressive(8, iterations=30, ridge=1e-9)
    found = problem.flow.solve(3, solver=rule.of(problem), seed=0).x
    assert found.isfinite().all()
    off = (found - rows).square().mean(1)
    assert off[1] < 1e-2 * rows[1].square().mean()
    assert off[2] == 0


def test_what_was_cut_off_comes_back_beyond_the_limit(speech):
    problem = posed(speech, Clipping(0.3, of_peak=True))
    limit = problem.drawn["limit"][:, None]
    assert torch.allclose(limit[:, 0], 0.3 * speech.abs().amax(1))
    answer = problem.flow.solve(len(speech), solver=Autoregressive().of(problem), seed=0).x
    assert torch.allclose(problem.operator(answer, problem.drawn), problem.y)
    assert error(problem, speech, Autoregressive()) < 0.95 * error(problem, speech, PseudoInverse())


def test_what_tells_no_sample_is_refused(gaussian):
    from flowloom_inverse.operators import AveragePool

    flow, pool = gaussian[0], AveragePool(2, dims=(0,))
    problem = Problem(flow, pool, torch.zeros(2, 3, dtype=torch.float64), {}, 0.0)
    with pytest.raises(IncompatibleError, match="masking or clipping"):
        flow.solve(2, solver=Autoregressive(1).of(problem))


@pytest.mark.parametrize(("shape", "count"), [((60,), 3), ((31, 2), 1), ((64,), 5)])
def test_gaps_lie_in_parts_of_their_own(shape, count):
    x = torch.randn(50, *shape, generator=torch.Generator().manual_seed(0))
    view = Gaps(count, steps=6)
    told = view.spec(Spec(shape))
    seen = view(Examples(x), torch.Generator().manual_seed(1)).cond
    given = seen["given"]
    assert given.shape == (50, shape[0]) == (50, *told.conditions["given"].shape)
    starts = ~given & torch.cat([torch.ones(50, 1, dtype=torch.bool), given[:, :-1]], 1)
    assert ((~given).sum(1) == 6 * count).all()
    assert (starts.sum(1) <= count).all()
    assert len(given.unique(dim=0)) > 10
    assert not seen["given_values"][~given].any()
    with pytest.raises(IncompatibleError, match="parts of 6 steps"):
        Gaps(10, steps=6).spec(Spec((60,)))


def test_a_stretch_is_read_by_itself():
    torch.manual_seed(0)
    net = Piecewise(Spec((24,)), 8, width=8)
    x, t = torch.randn(3, 24), torch.rand(3)
    other = x.clone()
    other[:, 8:16] += 1
    a, b = net(x, t), net(other, t)
    same = torch.ones(24, dtype=torch.bool)
    same[8:16] = False
    assert torch.equal(a[:, same], b[:, same])
    assert (a[:, ~same] != b[:, ~same]).any()
    assert torch.allclose(net(x, t[:, None].expand(3, 24)), a, atol=1e-6)
    with pytest.raises(IncompatibleError, match="multiple of 7"):
        Piecewise(Spec((24,)), 7)
