"""What the methods bring, as their recipes claim it."""

import pytest

from flowloom_registry.studies.verify import find_claims, verify

RECIPES = ("digits-glow", "digits-flow-plus-plus", "random-flow-ebflow")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_claims_of_a_recipe_hold(recipe, tmp_path):
    """Mixing (1807.03039, figure 3), couplings and noise (1902.00275, table 3), and cost (2305.15267)."""
    decided = verify(find_claims([recipe]), tmp_path)
    print("", *decided, sep="\n")
    assert decided
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]
