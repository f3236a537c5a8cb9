"""Glow: formulas against closed forms, exactness of its likelihood, and runs that go on bit for bit."""

import math

import pytest
import torch

import flowloom as fl
from flowloom.errors import DataError, FlowloomError, IncompatibleError
from flowloom.spec import Spec
from flowloom.testing import check
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom_images.data import Digits
from flowloom_likelihood.bijections import ActNorm, Chain, Coupling, FactorOut, InvertibleConv, Squeeze
from flowloom_likelihood.codec import Dequantize
from flowloom_likelihood.field import BijectionField, normal_log_prob
from flowloom_likelihood.laws import check_inverse, check_log_det
from flowloom_likelihood.models import Glow, LinearGaussian
from flowloom_likelihood.objective import ExactLikelihood
from flowloom_likelihood.score import BitsPerDim
from flowloom_likelihood.solver import Push
from flowloom_registry.config.recipe import load_recipe

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
