"""Glow: formulas against closed forms, exactness of its likelihood, and runs that go on bit for bit."""

import torch

import flowloom as fl
from flowloom_images.data import Digits
from flowloom_likelihood.codec import Dequantize
from flowloom_likelihood.models import Glow
from flowloom_likelihood.objective import ExactLikelihood
from flowloom_likelihood.solver import Push

SMALL = {"levels": 1, "steps": 2, "width": 8}


def glow_flow(seed=0, **settings):
    torch.manual_seed(seed)
    data = Digits()
    codec = Dequantize(data.spec, 17)
    model = Glow(codec.spec, **{**SMALL, **settings})
    path = fl.paths.AffinePath()
    return data, fl.Flow(
        model, spec=codec.spec, codec=codec, path=path, objective=ExactLikelihood(path), solver=Push()
    )
