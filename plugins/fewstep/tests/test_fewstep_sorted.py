"""Scores of some of the examples ask for those of all classes, where these come one after the other."""

from types import SimpleNamespace

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples, Tensors
from flowloom.solvers import Euler
from flowloom.trained import Trained
from flowloom_fewstep.bellman import euler_costs
from flowloom_fewstep.chords import Chords
from flowloom_fewstep.disturbance import Disturbance
from flowloom_fewstep.endpoint import EndpointDistance
from flowloom_fewstep.first_order import FirstOrderness
from flowloom_fewstep.operations import SamplingOperations
from flowloom_fewstep.transport import TransportCost


class Asked:
    """A flow that keeps the classes whose noise it is asked for, and gives none."""

    device, dtype, geometry = torch.device("cpu"), torch.float32, fl.geometry.Euclidean()
    spec, path = fl.spec.Spec((2,)), fl.paths.AffinePath()

    @property
    def source(self):
        return SimpleNamespace(
            sample=lambda shape, draw, cond: self.noise_for(Examples(torch.zeros(1), cond)),
            push=lambda noise, cond: noise,
        )

    def start_for(self, examples, generator=None):
        return self.noise_for(examples)

    def noise_for(self, examples, generator=None):
        self.label = examples.cond["label"]
        raise InterruptedError


@pytest.mark.parametrize(
    "score",
    [
        TransportCost(10),
        Chords(None, n=10),
        FirstOrderness(n=10),
        SamplingOperations(n=10),
        Disturbance(n=10),
        EndpointDistance(Euler(1), n=10),
    ],
    ids=lambda score: type(score).__name__,
)
def test_ten_of_forty_sorted_examples_are_of_all_four_classes(score):
    flow = Asked()
    with pytest.raises(InterruptedError):
        score(flow, Examples(torch.zeros(40, 2), {"label": torch.arange(40) // 10}))
    assert flow.label.bincount(minlength=4).tolist() == [3, 2, 3, 2]


def ragged():
    real = torch.arange(4) < torch.tensor([[2], [4]]).repeat(10, 1)
    return Tensors(torch.randn(20, 4, 2), {"real": real}, roles={"real": "real"})


class Says(torch.nn.Module):
    """The same of every real point, or what moves it to the centre, and anything of padding."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, x, t, /, **cond):
        real = cond["real"][..., None]
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(int(1000 * float(t[0]))))
        return torch.where(real, 1.0 + self.slope * x, 50 * noise)


def test_padding_moves_no_score():
    data = ragged()
    flow = fl.Flow(Says(0.0), spec=data.spec, solver=Euler(4))
    rows, own = data.all(), Trained(flow)
    assert TransportCost()(flow, rows)["transport_cost"] == pytest.approx(2 * (2 + 4) / 2)
    exact = [
        Chords(own, windows=2, fine=2),
        FirstOrderness(steps=4),
        EndpointDistance(Euler(2), of=own),
    ]
    for score in exact:
        found = score(flow, rows)
        assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-4)
    shrinks = fl.Flow(Says(-2.0), spec=data.spec, solver=Euler(4))
    assert Disturbance()(shrinks, rows)["pushed"] == pytest.approx(0.25, rel=1e-3)
    x0 = torch.randn(20, 4, 2)
    costs = euler_costs(flow.field(), x0, rows.cond, 3, torch.Generator(), flow.layout(rows.cond))
    assert costs[costs.isfinite()].max() < 1e-9


class Shifted(fl.sources.Gaussian):
    """Noise that is pushed, as a source that learns does."""

    def push(self, noise, cond=None):
        return noise + 100.0


@pytest.mark.parametrize("of", [TransportCost, Chords, Disturbance, EndpointDistance])
def test_ways_begin_where_the_source_has_pushed_the_noise(of):
    seen = []

    class Home(torch.nn.Module):
        def forward(self, x, t, /, **cond):
            if float(t[0]) == 0:
                seen.append(float(x.mean()))
            return -x

    flow = fl.Flow(Home(), spec=fl.spec.Spec((1,)), source=Shifted(), solver=Euler(2))
    told = {Chords: (Trained(flow),), EndpointDistance: (Euler(1),)}
    of(*told.get(of, ()))(flow, Examples(torch.randn(200, 1)))
    assert min(seen) > 99
