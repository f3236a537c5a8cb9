"""What the learned 1x1 convolution brings on real digits (1807.03039, figure 3), as the recipe claims it."""

import pytest

from flowloom_registry.studies.verify import find_claims, verify


@pytest.mark.slow
def test_glow_needs_fewer_bits_than_reversed_channels_and_than_a_gaussian(tmp_path):
    decided = verify(find_claims(["digits-glow"]), tmp_path)
    print("", *decided, sep="\n")
    assert decided
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]
