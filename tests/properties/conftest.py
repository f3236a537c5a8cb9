"""Properties of numeric parts on drawn inputs: every row of a kind, at offsets, scales, sizes and dtypes.

The laws of the kinds say what a part is; these say that it stays so far from the origin, in other precisions,
with one row, and beside padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from flowloom.errors import DataError, MissingDependencyError
from flowloom_registry import catalog
from flowloom_registry.config.example import build_component
from flowloom_registry.conformance import Setting, data_of, given_with
from flowloom_registry.errors import ConfigError
from flowloom_registry.plugins.rows import Row

settings.register_profile(
    "flowloom",
    derandomize=True,  # the same inputs everywhere: a find is a fault, never luck
    deadline=None,
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
settings.load_profile("flowloom")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``row`` is every registered row of the module's ``KIND`` without a recipe or data of its own."""
    if "row" in metafunc.fixturenames:
        rows = [r for r in catalog().of_kind(metafunc.module.KIND) if r.within is None and r.data is None]
        metafunc.parametrize("row", rows, ids=lambda row: row.qualified)


@pytest.fixture
def build() -> Callable[[Row], Any]:
    """Builds a row from its example, on the data that it names; skips where files or packages are absent."""

    def built(row: Row) -> Any:
        try:
            setting = Setting(data_of(row, catalog()))
            given = given_with(row, catalog(), row.example, setting)
            catalog().load(row)
            return build_component(row.kind, row.qualified, row.example, given=given, catalog=catalog())
        except (ConfigError, DataError, MissingDependencyError) as error:
            pytest.skip(f"cannot be built here: {error}")

    return built
