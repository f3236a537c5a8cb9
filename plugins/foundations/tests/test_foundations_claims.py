"""What the papers claim at laptop size, as the recipes say it: see their `claim:`; ``-s`` shows figures."""

import pytest

from flowloom_registry.studies.verify import find_claims, verify


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["contrastive", "cswf-digits"])
def test_what_the_recipe_claims_holds(recipe, tmp_path):
    decided = verify(find_claims([recipe]), tmp_path)
    print("", *decided, sep="\n")
    assert decided
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]


@pytest.mark.slow
def test_car_flow_has_shorter_paths_and_learns_faster(tmp_path):
    """2509.19300: the system's claims, those of both recipes."""
    decided = verify(find_claims(["car-flow"]), tmp_path)
    print("", *decided, sep="\n")
    assert len(decided) == 8
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]
