from pathlib import Path

import pytest

from flowloom.kinds import KINDS


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS if kind.laws])
def test_every_kind_has_wrong_twins(kind):
    assert (Path(__file__).parent / f"test_meta_{kind}.py").is_file()
