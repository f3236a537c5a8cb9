"""Wrong objectives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flowloom.draw import Draw
from flowloom.fields import FlowMap, NetworkField
from flowloom.layout import Layout, mean_of_entries
from flowloom.objectives import FlowMatching, Loss, Step
from flowloom.paths import Point
from flowloom.spec import Condition
from flowloom.state import expand

KIND = "objective"


class Detached(FlowMatching):
    def loss(self, model, batch, step):
        return Loss(super().loss(model, batch, step).total.detach().requires_grad_())


class Global(FlowMatching):
    def loss(self, model, batch, step):
        return super().loss(model, batch, Step())


class WrongTarget(FlowMatching):
    """Regresses x0 - x1 while its field says velocity."""

    def compare(self, prediction, point, cond):
        turned = Point(point.x_t, point.t, -point.velocity, point.x0, point.x1)
        return super().compare(prediction, turned, cond)


class WrongField(FlowMatching):
    """Trains velocities and hands out a field that calls them data."""

    def field(self, model, source=None):
        return NetworkField(model, "data", self.path, source)


class WholeBatch(FlowMatching):
    """Withholds conditions from the whole batch or from nobody."""

    def __init__(self):
        super().__init__(condition_dropout=0.3)

    def loss(self, model, batch, step):
        off = torch.rand((), generator=step.generator) < self.condition_dropout
        null = off.expand(len(batch.x1))
        return FlowMatching().loss(model, replace(batch, cond={**batch.cond, "null": null}), step)


class HidesLabels(FlowMatching):
    """Withholds by overwriting the labels with class 0."""

    def __init__(self):
        super().__init__(condition_dropout=0.3)

    def loss(self, model, batch, step):
        null = torch.rand(len(batch.x1), generator=step.generator) < self.condition_dropout
        label = batch.cond.get("label")
        if label is None:
            return FlowMatching().loss(model, batch, step)
        cond = {**batch.cond, "label": label.masked_fill(null, 0), "null": null}
        return FlowMatching().loss(model, replace(batch, cond=cond), step)


class Early(FlowMatching):
    """Has a time law and squares its draws."""

    def loss(self, model, batch, step):
        law, self.times = self.times, _Squared()
        try:
            return super().loss(model, batch, step)
        finally:
            self.times = law


class _Squared:
    def sample(self, n, draw):
        from flowloom.times import Uniform

        return Uniform().sample(n, draw) ** 2


class CountsPadding(FlowMatching):
    """Averages over everything."""

    def rows(self, values, t, layout):
        return super().rows(values, t, None if layout is None else Layout(given=layout.given))


class NaNPadding(FlowMatching):
    """Excludes padding from the sum, after its NaN has reached the gradient."""

    def loss(self, model, batch, step):
        t = self.times.sample(len(batch.x1), Draw(step.generator))
        point = self.path.sample(batch.x0, batch.x1, t)
        error = (model(point.x_t, t, **batch.cond) - point.velocity).square()
        return Loss(mean_of_entries(error, batch.layout and batch.layout.real).mean())


class MovesGiven(FlowMatching):
    """Noises what is given."""

    def loss(self, model, batch, step):
        layout = batch.layout if batch.layout is None else Layout(batch.layout.real)
        return super().loss(model, replace(batch, layout=layout), step)


class Forgets(FlowMatching):
    """Draws a scale of its own that no checkpoint holds."""

    def __init__(self):
        super().__init__()
        self.scale = 1 + torch.rand(())

    def loss(self, model, batch, step):
        return Loss(self.scale * super().loss(model, batch, step).total)


class _Silent(FlowMap):
    """Jumps along the velocity, whatever the length of the jump."""

    def __init__(self, model, path):
        self.model, self.path, self.geometry = model, path, path.geometry

    def jump(self, x, s, t, cond):
        return self.geometry.exp(x, expand(t - s, x) * self.velocity(x, s, cond))

    def velocity(self, x, t, cond):
        return self.geometry.to_tangent(x, self.model(x, t, **cond))


class Untold(FlowMatching):
    """Says that it tells how far it jumps, and does not."""

    tells = ("span",)

    @property
    def kind(self):
        return "flow-map"

    def conditions(self):
        return {"span": Condition(role="setting")}

    def field(self, model, source=None):
        return _Silent(model, self.path)

    def loss(self, model, batch, step):
        return FlowMatching(self.path, self.times).loss(model, batch, step)


TWINS = {
    "check_loss_reaches_the_model": (Detached, ()),
    "check_follows_its_generator": (Global, ("check_state_round_trip",)),
    "check_exact_answers_have_no_loss": (WrongTarget, ()),
    "check_field_is_of_its_kind": (WrongField, ()),
    "check_a_flow_map_tells_its_settings": (Untold, ()),
    "check_condition_dropout": (WholeBatch, ()),
    "check_times_follow_the_law": (Early, ()),
    "check_given_entries_stay": (MovesGiven, ()),
    "check_padding_counts_nothing": (CountsPadding, ()),
    "check_state_round_trip": (Forgets, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_hidden_labels_are_caught(fails_exactly):
    fails_exactly(KIND, HidesLabels, "check_condition_dropout")


def test_nan_gradients_are_caught(fails_exactly):
    fails_exactly(KIND, NaNPadding, "check_padding_counts_nothing", ("check_given_entries_stay",))


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
