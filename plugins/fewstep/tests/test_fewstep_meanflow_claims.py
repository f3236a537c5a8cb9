"""One evaluation of MeanFlow (2505.13447) beside flow matching: same network, steps, batches and seeds.

The claims are those of the recipes, on the checkerboard, on the sphere and of digits; ``-s`` shows figures.
"""

import pytest

from flowloom_registry.studies.verify import find_claims, verify


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "count"), [("meanflow-checkerboard", 2), ("meanflow-sphere", 2), ("meanflow-digits", 2)]
)
def test_one_evaluation_beside_one_step_of_flow_matching(recipe: str, count: int, tmp_path) -> None:
    pytest.importorskip("flowloom_images" if "digits" in recipe else "flowloom_geometries")
    decided = verify(find_claims([recipe]), tmp_path)
    print("", *decided, sep="\n")
    assert len(decided) == count
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]
