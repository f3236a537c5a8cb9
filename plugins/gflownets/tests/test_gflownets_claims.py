"""Trajectory balance beside detailed balance (2201.13259), as the recipe claims it."""

import pytest

from flowloom_registry.studies.verify import find_claims, verify


@pytest.mark.slow
def test_trajectory_balance_is_nearer_to_the_reward_than_detailed_balance(tmp_path):
    decided = verify(find_claims(["hypergrid-tb"]), tmp_path)
    print("", *decided, sep="\n")
    assert decided
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]
