"""Classifiers along a path, and guidance by them: exact for a mixture of Gaussians."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.guidance import ClassifierGuidance
from flowloom.models import MLP, MLPClassifier
from flowloom.objectives import Classification
from flowloom.paths import AffinePath
from flowloom.trained import Trained

MEANS = torch.tensor([[-2.0, 1.0], [2.0, 0.0], [0.0, -3.0]], dtype=torch.float64)
WIDTH = 0.5


def log_densities(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Of every class at time t of the straight path, ``(n, 3)``, up to a constant."""
    t = t[:, None].to(x.dtype)
    spread = t**2 * WIDTH**2 + (1 - t) ** 2
    return -(x[:, None] - t[..., None] * MEANS).square().sum(-1) / (2 * spread)


class Exact(nn.Module):
    classifies = 3

    def forward(self, x, t, **cond):
        return log_densities(x, t)


class Mixture(Field):
    """The exact field of the mixture, of one class where told one and not withheld it."""

    kind = "velocity"
    source = fl.sources.Gaussian()
    path = AffinePath()

    def __call__(self, x, t, cond):
        logits = log_densities(x, t)
        if "label" in cond and "null_label" not in cond:
            logits = logits.where(nn.functional.one_hot(cond["label"], 3).bool(), -torch.inf)
        weight = torch.softmax(logits, 1)
        means = t[:, None, None].to(x.dtype) * MEANS
        spread = (t**2 * WIDTH**2 + (1 - t) ** 2)[:, None].to(x.dtype)
        score = -((x[:, None] - means) * weight[..., None]).sum(1) / spread
        return self.path.convert(score, x, t, "score", "velocity", self.source)


def trained(model: nn.Module) -> Trained:
    spec = fl.Spec((2,), conditions={"label": fl.Condition(3)})
    return Trained(fl.Flow(model, spec=spec, objective=Classification()), spec)


def inputs():
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(12, 2, generator=draws, dtype=torch.float64)
    t = torch.linspace(0.1, 0.9, 12, dtype=torch.float64)
    return x, t, {"label": torch.arange(12) % 3}


@pytest.mark.parametrize("kind", ["velocity", "data", "noise", "score"])
def test_scale_one_on_the_unconditional_law_is_the_conditional_law(kind):
    x, t, cond = inputs()
    field = fl.fields.wrapped.ThroughPath(Mixture(), kind) if kind != "velocity" else Mixture()
    guided = ClassifierGuidance(trained(Exact()))(field)
    assert guided.kind == kind
    assert guided(x, t, cond).allclose(field(x, t, cond), atol=1e-8)
    assert not field(x, t, {}).allclose(field(x, t, cond), atol=0.1)


def test_the_score_moves_in_proportion_to_the_scale():
    x, t, cond = inputs()
    field = fl.fields.wrapped.ThroughPath(Mixture(), "score")
    plain = field(x, t, {})
    steps = [ClassifierGuidance(trained(Exact()), scale)(field)(x, t, cond) - plain for scale in (1.0, 3.0)]
    assert steps[1].allclose(3 * steps[0], atol=1e-10)


def test_nothing_is_steered_without_a_class_at_scale_zero_or_early():
    x, t, cond = inputs()
    field = Mixture()
    guided = ClassifierGuidance(trained(Exact()))(field)
    assert guided(x, t, {}).equal(field(x, t, {}))
    assert ClassifierGuidance(trained(Exact()), 0.0)(field)(x, t, cond).equal(field(x, t, cond))
    late = ClassifierGuidance(trained(Exact()), earliest=0.5)(field)(x, t, cond)
    early = t < 0.5
    assert late[early].equal(field(x, t, {})[early])
    assert not late[~early].allclose(field(x, t, {})[~early])


def test_a_classifier_learns_to_tell_noisy_states_apart():
    data = fl.data.EightGaussians(2000)
    torch.manual_seed(0)
    flow = fl.Flow(MLPClassifier(data.spec, width=32), objective=Classification(), spec=data.spec)
    history = flow.fit(data, steps=150, batch=128, lr=5e-3)
    assert history[-1]["accuracy"] > 0.55  # chance is 0.125; noise leaves no more than about 0.7
    clean = data.split("test").take(torch.arange(400))
    logits = flow.model(clean.x, torch.ones(400))
    assert float((logits.argmax(1) == clean.cond["label"]).float().mean()) > 0.95
    assert not flow.objective.generates
    with pytest.raises(IncompatibleError, match=r"generates nothing .* its objective is Classification"):
        flow.objective.require_generates()


def test_what_does_not_fit_is_told():
    from flowloom.clashes import problems

    spec = fl.Spec((2,), conditions={"label": fl.Condition(3)})
    said = problems({"objective": Classification(), "model": MLP(spec, 8), "spec": fl.Spec((2,))})
    assert [clash.message for clash in said] == [
        "the data has no classes named 'label' to tell apart",
        "classification asks for logits of classes, and MLP answers with states; take a classifier such as "
        "model: mlp-classifier",
    ]
    rule = ClassifierGuidance(Trained(fl.Flow(MLP(spec, 8), spec=spec), spec))
    other = fl.Spec((3,), conditions=spec.conditions)
    objective = fl.objectives.FlowMatching()
    said = problems({"guidance": rule, "spec": other, "path": AffinePath(), "objective": objective})
    told = " ".join(clash.message for clash in said)
    assert "trained MLP, which answers with no classes; take one of objective: classification" in told
    assert "knows states of shape (2,), and these are of shape (3,)" in told
    assert (
        "'label' is withheld from the network and the classifier decides it, which training never did" in told
    )
    cosine = AffinePath(fl.schedules.Cosine())
    said = problems({"guidance": rule, "spec": spec, "path": cosine, "objective": objective})
    assert "trained on points of CondOT(sigma_min=0.0), and this flow walks Cosine()" in " ".join(
        clash.message for clash in said
    )
    with pytest.raises(IncompatibleError, match="no classes named 'kind' to tell apart; it has: label"):
        MLPClassifier(spec, "kind")
    with pytest.raises(IncompatibleError, match="adds to scores, and a field of this kind has none"):
        field = Mixture()
        field.source = fl.sources.Paired()
        rule(field)
