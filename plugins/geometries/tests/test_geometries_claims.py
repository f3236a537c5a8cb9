"""What Riemannian flow matching (2302.03660) buys, small, as the recipes say it: see their `claim:`.

``-s`` shows figures.
"""

import pytest

from flowloom_registry.studies.verify import find_claims, verify


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "count"), [("sphere-clusters", 2), ("torus-seam", 3), ("walled-square", 3)]
)
def test_the_claims_of_a_recipe_hold(recipe: str, count: int, tmp_path) -> None:
    decided = verify(find_claims([recipe]), tmp_path)
    print("", *decided, sep="\n")
    assert len(decided) == count
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]
