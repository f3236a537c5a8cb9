"""Wrong networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowloom.models import MLP
from flowloom.spec import Condition, Spec
from flowloom.symmetries import Period, Permutation, Rotation, Translation

KIND = "model"
PLAIN = Spec((3,), conditions={"label": Condition(4)})
RAGGED = Spec((5, 2), conditions={"mask": Condition(shape=(5,), role="real")})


class Base(MLP):
    def __init__(self, spec=PLAIN):
        super().__init__(spec, width=16, depth=1)


class Flattened(Base):
    def forward(self, x, t, **cond):
        return super().forward(x, t, **cond)[:, :-1]


class Dropout(Base):
    """Drops units in eval mode too."""

    def forward(self, x, t, **cond):
        return nn.functional.dropout(super().forward(x, t, **cond), 0.3, training=True)


class Unused(Base):
    def __init__(self):
        super().__init__()
        self.forgotten = nn.Linear(3, 3)


class Timeless(Base):
    def forward(self, x, t, **cond):
        return super().forward(x, 0 * t, **cond)


class BatchNorm(Base):
    """Centres every batch, and does not say so."""

    def forward(self, x, t, **cond):
        out = super().forward(x, t, **cond)
        return out - 0.5 * out.mean(0)


class NoForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


class NotJvpSafe(Base):
    """Uses a function without forward mode, and does not say so."""

    def forward(self, x, t, **cond):
        return super().forward(NoForwardMode.apply(x), t, **cond)


class Leaky(Base):
    """Under null the label is scaled down, not withheld."""

    def forward(self, x, t, **cond):
        out = super().forward(x, t, **cond)
        return out + 0.01 * cond["label"].to(x.dtype)[:, None] if "label" in cond else out


class Ordered(Base):
    """Says that it reads neighbours as a set, and flattens them."""

    unordered = ("around",)

    def __init__(self):
        super().__init__(Spec((3,), conditions={"around": Condition(shape=(4, 2))}))


class Deaf(Base):
    """Calls itself conditional and never looks."""

    def __init__(self):
        super().__init__(Spec((3,)))
        self.spec = PLAIN


class AllOrNothing(Base):
    """One withheld row withholds all."""

    def forward(self, x, t, **cond):
        if "null" in cond and not self.training:
            cond["null"] = cond["null"].any().expand(len(x))
        return super().forward(x, t, **cond)


class DeafToNames(Base):
    """Hides everything at once, and no condition by its own name."""

    def forward(self, x, t, **cond):
        return super().forward(x, t, **{k: v for k, v in cond.items() if not k.startswith("null_")})


class SeesPadding(Base):
    def __init__(self):
        super().__init__(RAGGED)

    def forward(self, x, t, **cond):
        return super().forward(x, t)


class MultipliesMask(Base):
    """Zeroes padding by multiplication, which NaN survives."""

    def __init__(self):
        super().__init__(RAGGED)

    def forward(self, x, t, **cond):
        return super().forward(x * cond["mask"][..., None], t)


class Unsaved(Base):
    """Keeps a random tensor outside its state."""

    def __init__(self):
        super().__init__()
        self.offset = torch.randn(3)

    def forward(self, x, t, **cond):
        return super().forward(x, t, **cond) + self.offset.to(x.dtype)


class Overflows(Base):
    """Fine in float32; in bf16 the small difference is lost."""

    def forward(self, x, t, **cond):
        out = super().forward(x, t, **cond)
        return (out + 1000) - 1000 if out.dtype == torch.bfloat16 else out


class NotCompilable(Base):
    """Behaves otherwise once compiled."""

    def forward(self, x, t, **cond):
        out = super().forward(x, t, **cond)
        return out + 1 if torch.compiler.is_compiling() else out


class Declares(MLP):
    """A perceptron, which has no symmetry, and says that it has one."""

    def __init__(self, *symmetries):
        super().__init__(RAGGED, width=16, depth=1)
        self.symmetries = symmetries


TWINS = {
    "check_rotations": (lambda: Declares(Rotation()), ()),
    "check_translations": (lambda: Declares(Translation()), ()),
    "check_periods": (lambda: Declares(Period()), ()),
    "check_permutations": (lambda: Declares(Permutation({"": 1})), ()),
    "check_output_shape": (Flattened, ()),
    "check_is_deterministic": (
        Dropout,
        (
            "check_batch_independence",
            "check_jvp",
            "check_null_withholds",
            "check_state_round_trip",
            "check_bf16",
        ),
    ),
    "check_every_parameter_learns": (Unused, ()),
    "check_time_and_state_matter": (Timeless, ()),
    "check_batch_independence": (BatchNorm, ("check_null_withholds",)),
    "check_jvp": (NotJvpSafe, ()),
    "check_null_withholds": (Leaky, ()),
    "check_sets_have_no_order": (Ordered, ()),
    "check_layout": (SeesPadding, ()),
    "check_state_round_trip": (Unsaved, ()),
    "check_bf16": (Overflows, ()),
    "check_compile": (NotCompilable, ()),
}


@pytest.mark.parametrize(
    "target", [pytest.param(t, marks=pytest.mark.slow) if t == "check_compile" else t for t in TWINS]
)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


@pytest.mark.parametrize(
    ("make", "target"),
    [
        (Deaf, "check_null_withholds"),
        (AllOrNothing, "check_null_withholds"),
        (DeafToNames, "check_null_withholds"),
        (MultipliesMask, "check_layout"),
    ],
)
def test_others_are_caught(make, target, fails_exactly):
    fails_exactly(KIND, make, target)


def test_the_right_ones_pass():
    from flowloom.testing import check

    assert all(r.ok for spec in (PLAIN, RAGGED) for r in check(lambda s=spec: Base(s), KIND))


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
