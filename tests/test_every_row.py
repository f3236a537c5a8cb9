"""Every row of every installed plugin is built from its example and held to the laws of its kind."""

from __future__ import annotations

import pytest

from flowloom_registry import catalog
from flowloom_registry.conformance import check_row, is_checked
from flowloom_registry.plugins.rows import Row

# Rows with the tag "heavy" take ten seconds and more; they are judged with the slow tests.
ROWS = [
    pytest.param(
        row,
        id=f"{row.kind}/{row.qualified}",
        marks=[pytest.mark.slow] if "heavy" in row.tags else [],
    )
    for row in catalog().rows
]


@pytest.mark.parametrize("row", ROWS)
def test_row_keeps_the_laws(row: Row) -> None:
    results = check_row(row, catalog())
    if not is_checked(results):
        pytest.skip(f"not checked: {results[0].message}")
    failed = [f"{result.name}: {result.message}" for result in results if not result.ok]
    assert not failed, "\n".join(failed)


def test_no_plugin_is_broken_and_no_name_is_taken_twice() -> None:
    assert not [str(broken.error) for broken in catalog().broken]
    assert not catalog().collisions()
