"""Turned, mirrored and stretched ways."""

from __future__ import annotations

import pytest
import torch

from flowloom.data import Examples
from flowloom_trajectories.views import Turn


def _rows(n: int = 400) -> Examples:
    draws = torch.Generator().manual_seed(1)
    cond = {
        "past": torch.randn(n, 8, 2, generator=draws),
        "neighbours": torch.randn(n, 3, 8, 3, generator=draws),
    }
    return Examples(torch.randn(n, 12, 2, generator=draws), cond)


@pytest.mark.parametrize("stretch", [1.0, 1.5])
def test_one_turn_and_one_factor_for_all_that_a_row_tells(stretch: float) -> None:
    rows = _rows()
    seen = Turn(stretch=stretch)(rows, torch.Generator().manual_seed(2))
    factor = seen.x.norm(dim=-1) / rows.x.norm(dim=-1)
    assert torch.allclose(factor, factor[:, :1].expand_as(factor), rtol=1e-4)
    for name in ("past", "neighbours"):
        before, after = rows.cond[name][..., :2], seen.cond[name][..., :2]
        own = (after.norm(dim=-1) / before.norm(dim=-1)).flatten(1)
        assert torch.allclose(own, factor[:, :1].expand_as(own), rtol=1e-3)
        # Inner products between what is to come and what was keep their size, so it was one rotation.
        inner = (before.flatten(1, -2)[:, :1] * rows.x[:, :1]).sum(-1)
        turned = (after.flatten(1, -2)[:, :1] * seen.x[:, :1]).sum(-1)
        assert torch.allclose(turned, factor[:, :1] ** 2 * inner, atol=1e-4)
    assert torch.equal(seen.cond["neighbours"][..., 2], rows.cond["neighbours"][..., 2])
    logs = factor[:, 0].log() / torch.tensor(1.5).log()
    if stretch == 1:
        assert logs.abs().max() < 1e-5
    else:
        assert logs.abs().max() < 1.001
        assert abs(float(logs.mean())) < 0.1
        assert abs(float(logs.std()) - 3**-0.5) < 0.06


def test_half_are_mirrored() -> None:
    rows = _rows()
    seen = Turn()(rows, torch.Generator().manual_seed(2))

    def cross(one: Examples) -> torch.Tensor:
        (a, b), (c, d) = one.x[:, 0].unbind(-1), one.x[:, 1].unbind(-1)
        return a * d - b * c

    kept = torch.isclose(cross(seen), cross(rows), atol=1e-4)
    turned = torch.isclose(cross(seen), -cross(rows), atol=1e-4)
    assert (kept | turned).all()
    assert 0.4 < float(kept.double().mean()) < 0.6


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Turn(stretch=0.5)


def test_a_row_may_be_one_point_and_so_may_what_it_is_told() -> None:
    draws = torch.Generator().manual_seed(0)
    rows = Examples(torch.randn(5, 2, generator=draws), {"goal": torch.randn(5, 2, generator=draws)})
    seen = Turn(points=("goal",), mirror=False)(rows, torch.Generator().manual_seed(1))
    wanted, found = (
        one.x[:, 0] * one.cond["goal"][:, 1] - one.x[:, 1] * one.cond["goal"][:, 0] for one in (rows, seen)
    )
    assert torch.allclose(found, wanted, atol=1e-5), "areas stay under rotations"
    assert not torch.allclose(seen.x, rows.x)
