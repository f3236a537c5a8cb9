"""Wrong baselines."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flowloom.baselines import Baseline
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec

KIND = "baseline"


class Halves(Dataset):
    spec = Spec(
        (4, 1),
        conditions={
            "past": Condition(shape=(4, 1)),
            "given": Condition(shape=(4,), role="given"),
            "given_values": Condition(shape=(4, 1), role="values"),
        },
    )

    def __len__(self):
        return 16

    def take(self, rows):
        x = (
            torch.stack([torch.randn(8, 1, generator=torch.Generator().manual_seed(int(r))) for r in rows])
            if len(rows)
            else torch.zeros(0, 8, 1)
        )
        given = (torch.arange(4) == 0).expand(len(rows), 4)
        values = torch.where(given[..., None], x[:, 4:], 0.0)
        return Examples(x[:, 4:], {"past": x[:, :4], "given": given, "given_values": values})


class Again(Baseline):
    def __call__(self, asked, generator):
        return Examples(asked.layout.hold(asked.cond["past"]), asked.cond, asked.layout)


class Short(Again):
    def __call__(self, asked, generator):
        found = super().__call__(asked, generator)
        return replace(found, x=found.x[:, :3])


class Peeks(Again):
    def __call__(self, asked, generator):
        found = super().__call__(asked, generator)
        return replace(found, x=asked.layout.hold(found.x + 0.1 * asked.x))


class Draws(Again):
    """From the global generator."""

    def __call__(self, asked, generator):
        found = super().__call__(asked, generator)
        return replace(found, x=asked.layout.hold(found.x + torch.rand(())))


class Forgets(Again):
    def __call__(self, asked, generator):
        return replace(super().__call__(asked, generator), x=asked.cond["past"])


class Breaks(Again):
    def __call__(self, asked, generator):
        if not len(asked):
            raise RuntimeError("max of nothing")
        return super().__call__(asked, generator)


TWINS = {
    "check_answers_fit": (Short, ("check_keeps_what_is_given", "check_does_not_peek")),
    "check_does_not_peek": (Peeks, ()),
    "check_is_deterministic": (Draws, ("check_does_not_peek",)),
    "check_keeps_what_is_given": (Forgets, ()),
    "check_no_rows": (Breaks, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also, data=Halves())


def test_the_right_one_passes():
    from flowloom.testing import check

    assert all(r.ok for r in check(Again, KIND, data=Halves()))


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
