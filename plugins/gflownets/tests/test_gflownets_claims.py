"""What the recipes claim, decided on seeds 0, 1 and 2."""

import pytest

from flowloom_registry.studies.verify import find_claims, verify

RECIPES = (
    "hypergrid-tb",
    "box-tb",
    "nine-gaussians-tb",
    "torus-tb",
    "funnel-subtb",
    "chance-tree-edb",
    "tic-tac-toe",
)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_claims_hold(recipe, tmp_path):
    decided = verify(find_claims([recipe]), tmp_path)
    print("", *decided, sep="\n")
    assert decided
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]
