"""Wrong guidance."""

from __future__ import annotations

import pytest
import torch

from flowloom.conditions import without
from flowloom.data import Tensors
from flowloom.fields import Wrapped
from flowloom.flow import Flow
from flowloom.guidance import ClassifierFree, Guidance
from flowloom.models import MLP
from flowloom.spec import Condition, Spec

KIND = "guidance"


class _Mixed(Wrapped):
    def __init__(self, field, rule):
        super().__init__(field)
        self.rule = rule

    def __call__(self, x, t, cond):
        return self.rule.mix(self.field, x, t, cond)

    def calls(self, t, cond):
        return self.rule.price(t) if "label" in cond else 1


class Rule(Guidance):
    """Classifier-free guidance in two calls, whose pieces the twins break."""

    def __init__(self, scale=2.0):
        self.scale = scale

    def __call__(self, field):
        return _Mixed(field, self)

    def price(self, t):
        return 2 if self.scale != 1 else 1

    def mix(self, field, x, t, cond):
        if "label" not in cond or self.scale == 1:
            return field(x, t, cond)
        plain, null = field(x, t, cond), field(x, t, without(cond, len(x)))
        return self.combine(plain, null, field)

    def combine(self, plain, null, field):
        if field.kind == "posterior":
            plain, null = plain.log_softmax(-1), null.log_softmax(-1)
        return (1 - self.scale) * null + self.scale * plain


class ForgetsKind(Rule):
    def __call__(self, field):
        guided = super().__call__(field)
        guided.kind = "velocity"
        return guided


class Doubles(Rule):
    """Returns both branches."""

    def combine(self, plain, null, field):
        return torch.cat([super().combine(plain, null, field), null])


class AlwaysTwice(Rule):
    """Asks for the null branch even where its weight is 0."""

    def price(self, t):
        return 2

    def mix(self, field, x, t, cond):
        if "label" not in cond:
            return field(x, t, cond)
        plain, null = field(x, t, cond), field(x, t, without(cond, len(x)))
        return self.combine(plain, null, field)


class OtherConvention(Rule):
    """w = 0 means plain conditional sampling, as in the original paper."""

    def combine(self, plain, null, field):
        if field.kind == "posterior":
            plain, null = plain.log_softmax(-1), null.log_softmax(-1)
        return (1 + self.scale) * plain - self.scale * null


class Squares(Rule):
    def combine(self, plain, null, field):
        self, scale = None, self.scale
        if field.kind == "posterior":
            plain, null = plain.log_softmax(-1), null.log_softmax(-1)
        return null + scale**2 * (plain - null)


class MixesLogits(Rule):
    """Probabilities are mixed where log probabilities should be."""

    def combine(self, plain, null, field):
        if field.kind != "posterior":
            return super().combine(plain, null, field)
        p = (1 - self.scale) * null.softmax(-1) + self.scale * plain.softmax(-1)
        return p.clamp_min(1e-9).log()


class Undercounts(Rule):
    def price(self, t):
        return 1


class DropsMask(Rule):
    def mix(self, field, x, t, cond):
        if "label" not in cond:
            return field(x, t, {})
        return super().mix(field, x, t, cond)


class LeaksLabels(Rule):
    """The null branch sees the labels of the batch rolled by one, not withheld in the first row."""

    def mix(self, field, x, t, cond):
        if "label" not in cond or self.scale == 1:
            return field(x, t, cond)
        plain, null = field(x, t, cond), field(x, t, without({"label": cond["label"]}, len(x)))
        return self.combine(plain, null, field)


class Flattens(Rule):
    """Forgets that an answer may have several dimensions."""

    def mix(self, field, x, t, cond):
        value = super().mix(field, x, t, cond)
        return value.flatten(1) if value.ndim > 2 and not hasattr(field, "vocab") else value


def own_recipe():
    """Data of 3 x 2 numbers and a flow that fits it: what is around a component in a recipe."""
    spec = Spec(shape=(3, 2), conditions={"label": Condition(4)})
    x = torch.randn(8, 3, 2, generator=torch.Generator().manual_seed(0))
    return {"data": Tensors(x, {"label": torch.arange(8) % 4}, spec=spec), "flow": Flow(MLP(spec, width=8))}


TWINS = {
    "check_kind_is_kept": (ForgetsKind, ()),
    "check_shape_is_kept": (Doubles, ("check_scale_zero_is_unconditional", "check_affine_in_scale")),
    "check_scale_one_is_the_field": (AlwaysTwice, ()),
    "check_scale_zero_is_unconditional": (OtherConvention, ("check_affine_in_scale",)),
    "check_affine_in_scale": (Squares, ()),
    "check_evaluations_are_counted": (Undercounts, ()),
    "check_unconditional_is_left_alone": (DropsMask, ()),
    "check_branches": (LeaksLabels, ()),
    "check_steers_its_flow": (Flattens, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    around = own_recipe() if target == "check_steers_its_flow" else {}
    fails_exactly(KIND, make, target, also, **around)


def test_mixed_probabilities_are_caught(fails_exactly):
    fails_exactly(KIND, MixesLogits, "check_affine_in_scale")


@pytest.mark.parametrize("make", [Rule, ClassifierFree])
def test_right_ones_pass(make):
    from flowloom.testing import check

    assert [r for r in check(make, KIND) if not r.ok] == []


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
