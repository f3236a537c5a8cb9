"""What order brings to generated networks, as the recipe claims it."""

import pytest

from flowloom_registry.studies.verify import find_claims, verify


@pytest.mark.slow
def test_networks_in_one_order_are_generated_and_not_copied(tmp_path):
    decided = verify(find_claims(["deepweightflow"]), tmp_path)
    print("", *decided, sep="\n")
    assert len(decided) == 5
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]
