"""A network in the frame of who walks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom_trajectories.models import Facing, TimeTransformer

SPEC = Spec((12, 2), conditions={"past": Condition(shape=(8, 2)), "neighbours": Condition(shape=(3, 8, 3))})


class _Crooked(nn.Module):
    """An answer that turns with nothing by itself."""

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        bent = x * torch.tensor([1.0, 3.0]) + cond["neighbours"][:, 0, :1, :2] ** 2
        return bent + t[:, None, None] * torch.tensor([0.5, -2.0])


def _asked(n: int = 5) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    draws = torch.Generator().manual_seed(3)
    past = torch.randn(n, 8, 2, generator=draws)
    neighbours = torch.randn(n, 3, 8, 3, generator=draws)
    return torch.randn(n, 12, 2, generator=draws), torch.rand(n, generator=draws), {
        "past": past, "neighbours": neighbours,
    }  # fmt: skip


def _turn(values: Tensor, angle: float) -> Tensor:
    a, b = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[a, -b], [b, a]])
    return torch.cat([values[..., :2] @ matrix.T, values[..., 2:]], -1)


@pytest.mark.parametrize("angle", [0.3, 2.0, -1.2])
def test_answers_turn_with_the_scene(angle: float) -> None:
    x, t, cond = _asked()
    model = Facing(SPEC, _Crooked())
    there = {name: _turn(value, angle) for name, value in cond.items()}
    plain = model(x, t, **cond)
    assert torch.allclose(model(_turn(x, angle), t, **there), _turn(plain, angle), atol=1e-4)
    assert not torch.allclose(_Crooked()(_turn(x, angle), t, **there), _turn(plain, angle), atol=1e-2)


def test_the_network_sees_the_past_ahead_of_it() -> None:
    seen: dict[str, Tensor] = {}

    class _Spy(nn.Module):
        def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
            seen.update(cond)
            return x

    x, t, cond = _asked()
    assert torch.allclose(Facing(SPEC, _Spy())(x, t, **cond), x, atol=1e-5)
    way = seen["past"][:, -1] - seen["past"][:, 0]
    assert torch.allclose(way[:, 1], torch.zeros(len(x)), atol=1e-5)
    assert (way[:, 0] > 0).all()
    assert torch.equal(seen["neighbours"][..., 2], cond["neighbours"][..., 2])


def test_who_stands_or_is_not_known_is_seen_as_he_is() -> None:
    x, t, cond = _asked()
    cond["past"][0] = 0.01 * cond["past"][0]
    hidden = torch.tensor([False, True, False, False, False])
    answer = Facing(SPEC, _Crooked())(x, t, **cond, null_past=hidden)
    plain = _Crooked()(x, t, **cond)
    assert torch.allclose(answer[:2], plain[:2], atol=1e-6)
    assert not torch.allclose(answer[2:], plain[2:], atol=1e-2)


def test_it_says_of_itself_what_the_network_says() -> None:
    model = Facing(SPEC, TimeTransformer(SPEC, 16, 1, 2))
    assert model.conditional


def test_it_wants_a_past_in_the_plane() -> None:
    with pytest.raises(IncompatibleError, match="wants a condition 'before'"):
        Facing(SPEC, _Crooked(), past="before")
    with pytest.raises(IncompatibleError, match="points in the plane"):
        Facing(Spec((12, 3), conditions=SPEC.conditions), _Crooked())
