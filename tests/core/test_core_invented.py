"""Conditions that codecs lay out anew, and conditions that a trained flow makes up by itself."""

from __future__ import annotations

import torch

import flowloom as fl
from flowloom.codecs import Codec
from flowloom.data import Examples, Tensors
from flowloom.spec import Condition, Spec


class Pairs(Codec):
    """Two neighbours are one entry of the state, and so are their marks."""

    @property
    def spec(self):
        (length,) = self.data_spec.shape
        return Spec((length // 2, 2), conditions={"mask": Condition(shape=(length // 2,), role="real")})

    def encode_conditions(self, cond):
        return {name: v.unflatten(1, (-1, 2)).any(2) if name == "mask" else v for name, v in cond.items()}

    def encode(self, examples, generator=None):
        return Examples(examples.x.unflatten(1, (-1, 2)), self.encode_conditions(examples.cond))

    def decode(self, examples):
        cond = {name: v.repeat_interleave(2, 1) for name, v in examples.cond.items()}
        return Examples(examples.x.flatten(1), cond)


class OwnLengths(fl.objectives.FlowMatching):
    """Makes up lengths of 1 to 4 entries."""

    invents = ("mask",)

    def complete(self, cond, n, generator=None):
        if "mask" in cond:
            return cond
        lengths = torch.randint(1, 5, (n,), generator=generator)
        return {**cond, "mask": torch.arange(4) < lengths[:, None]}


def flow_of(objective):
    spec = Spec((8,), conditions={"mask": Condition(shape=(8,), role="real")})
    lengths = torch.tensor([2, 8, 4, 6])
    data = Tensors(torch.randn(4, 8), {"mask": torch.arange(8) < lengths[:, None]}, spec=spec)
    codec = Pairs(spec)
    return fl.Flow(fl.models.MLP(codec.spec, width=8), objective=objective, codec=codec), data


def test_conditions_of_data_are_those_of_states_when_sampling():
    flow, data = flow_of(fl.objectives.FlowMatching())
    solution = flow.solve(4, seed=0, cond=data.all().cond)
    assert solution.x.shape == (4, 4, 2)
    assert solution.cond["mask"].sum(1).tolist() == [1, 4, 2, 3]


def test_what_is_not_given_is_made_up():
    flow, data = flow_of(OwnLengths())
    solution = flow.solve(64, seed=0)
    assert set(solution.cond["mask"].sum(1).tolist()) == {1, 2, 3, 4}
    assert torch.equal(solution.cond["mask"], flow.solve(64, seed=0).cond["mask"])
    given = flow.solve(4, seed=0, cond=data.all().cond)
    assert given.cond["mask"].sum(1).tolist() == [1, 4, 2, 3]
