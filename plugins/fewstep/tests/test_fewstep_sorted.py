"""Scores of some of the examples ask for those of all classes, where these come one after the other."""

from types import SimpleNamespace

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples
from flowloom.solvers import Euler
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
            sample=lambda shape, draw, cond: self.noise_for(Examples(torch.zeros(1), cond))
        )

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
