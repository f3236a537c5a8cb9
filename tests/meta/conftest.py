"""Tests of the tests: deliberately wrong components must fail exactly the check that is meant for them."""

from __future__ import annotations

import pytest
import torch

from flowloom.testing import all_checks, check, checks_for


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fails_exactly():
    """Assert that a twin fails the check ``target`` and, besides it, only ``also``, which follow from it."""

    def judge(kind, make, target, also=(), **known):
        slow = any(c.__name__ == target and c.law.slow for c in all_checks(kind))
        assert target in {c.__name__ for c in checks_for(kind, make(), slow=slow)}, f"{target} does not apply"
        results = check(make, kind, slow=slow, **known)
        failed = {r.name: r.message for r in results if not r.ok}
        assert target in failed, f"the twin passes {target}; it fails {failed}"
        assert set(failed) == {target, *also}, failed
        assert "\n" not in failed[target]
        assert "seed 0" in failed[target]

    return judge


@pytest.fixture
def every_check_has_a_twin():
    """Assert that the twins of a kind cover its checks."""

    def judge(kind, twins):
        missing = {c.__name__ for c in all_checks(kind)} - set(twins)
        assert not missing, f"no wrong twin for {sorted(missing)} of kind {kind}"

    return judge
