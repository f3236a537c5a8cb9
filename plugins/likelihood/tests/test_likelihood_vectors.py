"""Bijections of vectors: the laws, and conditionals that are mixtures."""

import math

import pytest
import torch

import flowloom as fl
from flowloom.errors import ShapeError
from flowloom.kinds import Kind
from flowloom.spec import Spec
from flowloom.testing import check
from flowloom_likelihood.models.vectors import MixtureAutoregressive, VectorCouplings

KIND = Kind("bijection", "flowloom_likelihood.bijections:Bijection", "", "flowloom_likelihood.laws")


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("model", [VectorCouplings, MixtureAutoregressive])
def test_they_keep_the_laws_of_bijections(model, size):
    results = check(lambda: model(Spec((size,)), width=8), KIND)
    assert all(result.status == "passed" for result in results), [r.message for r in results]


def test_an_odd_number_of_couplings_is_as_many():
    assert len(VectorCouplings(Spec((3,)), couplings=5, width=4).nets) == 5


def test_the_density_is_that_of_the_mixture():
    """One entry after the other, by hand; and it is one in all."""
    torch.manual_seed(0)
    model = MixtureAutoregressive(Spec((2,)), components=3, width=8).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    side = torch.linspace(-14, 14, 401, dtype=torch.float64)
    x = torch.cartesian_prod(side, side)
    z, log_det = model.transform(x, {})
    density = (log_det - 0.5 * z.square().sum(1) - math.log(2 * math.pi)).exp().detach()
    assert float(density.sum()) * float(side[1] - side[0]) ** 2 == pytest.approx(1, abs=1e-3)
    weight, place, log_scale = model._mixture(1, x[:, :1])
    scale = log_scale.exp()
    logistic = torch.sigmoid((x[:, 1:] - place) / scale)
    second = (weight.exp() * logistic * (1 - logistic) / scale).sum(1)
    first = density.reshape(401, 401).sum(1) * float(side[1] - side[0])
    assert torch.allclose(second * first.repeat_interleave(401), density, atol=1e-4)


def test_gradients_of_samples_are_those_of_the_root():
    torch.manual_seed(0)
    model = MixtureAutoregressive(Spec((2,)), components=2, width=4).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    z = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: model.inverse(z, {}), (z,), atol=1e-4)


def test_couplings_start_at_the_moments_of_the_data():
    data = fl.data.Tensors(5 + 3 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0)))
    model = VectorCouplings(Spec((2,)), couplings=2, width=4)
    model.fit(data, None, torch.Generator().manual_seed(0))
    z, _ = model.transform(data.all().x, {})
    assert torch.allclose(z.mean(0), torch.zeros(2), atol=0.05)
    assert torch.allclose(z.std(0), torch.ones(2), atol=0.05)


def test_what_is_no_vector_is_refused():
    with pytest.raises(ShapeError, match="two entries"):
        VectorCouplings(Spec((1,)))
    with pytest.raises(ShapeError, match="one real tensor"):
        MixtureAutoregressive(Spec((3,), vocab=4))
