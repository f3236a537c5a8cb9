"""What the page of systems says holds, holds still: the claims of recipes decided anew, in hours for all.

One of them: ``pytest -m slow tests/claims -k digits-glow``; ``-s`` shows figures.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from flowloom_registry.studies.verify import find_claims, verify

VERDICTS = json.loads((Path(__file__).parents[2] / "docs" / "systems.json").read_text())["verdicts"]
HOLD: dict[str, set[str]] = defaultdict(set)
for key, verdict in VERDICTS.items():
    if verdict["answer"] == "holds":
        recipe, _, statement = key.partition(": ")
        HOLD[recipe].add(statement)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(HOLD))
def test_what_holds_on_the_page_holds_still(recipe: str, tmp_path: Path) -> None:
    claims = [one for one in find_claims([recipe]) if one.statement in HOLD[recipe]]
    if not claims:
        pytest.skip("its claims were changed since; flowloom verify decides them")
    decided = verify(claims, tmp_path)
    print("", *decided, sep="\n")
    assert len(decided) == len(claims)
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]
