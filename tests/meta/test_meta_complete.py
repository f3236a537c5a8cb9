from pathlib import Path

import pytest

from flowloom.testing import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_wrong_twins(kind):
    assert (Path(__file__).parent / f"test_meta_{kind}.py").is_file()
