"""Wrong views."""

from __future__ import annotations

import pytest
import torch

from flowloom.data import Examples
from flowloom.spec import Condition
from flowloom.views import Context, Mask, Noisy, View

KIND = "view"


class Longer(Context):
    """Its spec forgets that the state got shorter."""

    def spec(self, spec):
        return spec.plus({"context": super().spec(spec).conditions["context"]})


class Sorts(Mask):
    """Hands rows on in another order."""

    def __call__(self, examples, generator):
        seen = super().__call__(examples, generator)
        return seen.take(torch.arange(len(seen)).flip(0))


class Forgets(Mask):
    """Loses the conditions that it does not know."""

    def __call__(self, examples, generator):
        seen = super().__call__(examples, generator)
        kept = {name: seen.cond[name] for name in ("given", "given_values", "label")}
        return Examples(seen.x, kept)


class Global(Noisy):
    """Draws from the global generator."""

    def __call__(self, examples, generator):
        return super().__call__(examples, torch.default_generator)


class SaysNothing(Noisy):
    """Draws, and says that it does not."""

    random = False


class Idle(Context):
    """Says that it draws, and does not."""

    random = True


class Overwrites(Noisy):
    """Writes the noise into the examples themselves."""

    def __call__(self, examples, generator):
        seen = super().__call__(examples, generator)
        examples.x.copy_(seen.cond["observed"])
        return seen


class Marks(View):
    """Calls itself an augmentation and adds a condition."""

    augments = True

    def spec(self, spec):
        return spec.plus({"chance": Condition()})

    def __call__(self, examples, generator):
        chance = torch.rand(len(examples), generator=generator)
        return Examples(examples.x, {**examples.cond, "chance": chance})


TWINS = {
    "check_spec": (lambda: Longer(1), ()),
    "check_rows_stay": (Sorts, ()),
    "check_is_deterministic": (Global, ()),
    "check_draws": (lambda: Idle(1), ()),
    "check_touches_nothing": (Overwrites, ("check_is_deterministic",)),
    "check_augments": (Marks, ()),
}
ALSO = {
    "check_rows_stay": (Forgets, ("check_spec",)),
    "check_is_deterministic": (SaysNothing, ()),
}


@pytest.mark.parametrize("twins", [TWINS, ALSO])
@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, twins, fails_exactly):
    if target in twins:
        twin, also = twins[target]
        fails_exactly(KIND, twin, target, also)


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
