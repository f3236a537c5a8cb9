"""What the papers claim at laptop size, as the recipes say it: see their `claim:`; ``-s`` shows figures."""

import pytest

from flowloom_registry.studies.verify import find_claims, verify


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "count"),
    [
        ("markov", 5),
        ("dirichlet-toy", 2),
        ("dirichlet-one-step", 2),
        ("dna-toy", 1),
        ("catflow-graphs", 2),
    ],
)
def test_the_claims_of_a_recipe_hold(recipe: str, count: int, tmp_path) -> None:
    """2407.15595, 2402.05841 and 2406.04843."""
    decided = verify(find_claims([recipe]), tmp_path)
    print("", *decided, sep="\n")
    assert len(decided) == count
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]
