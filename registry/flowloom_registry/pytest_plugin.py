"""Help for the tests of plugins, loaded by pytest itself: it must stay light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from flowloom_registry.plugins.catalog import Catalog


class CatalogMaker(Protocol):
    """Makes a catalog that holds only what it is given."""

    def __call__(self, *, core: bool = True, **plugins: object) -> Catalog:
        """Make it; see `flowloom_catalog`."""
        ...


@pytest.fixture
def flowloom_catalog() -> CatalogMaker:
    """Make a catalog apart from everything installed.

    ``flowloom_catalog(mine=my_package.plugin)`` holds core's rows and those of ``mine``, a module or object
    with ``hookimpl`` functions; ``core=False`` leaves core out. A broken plugin raises at once.
    """

    def make(*, core: bool = True, **plugins: object) -> Catalog:
        from flowloom_registry import discover
        from flowloom_registry.plugins import builtin

        first: dict[str, object] = {"core": builtin} if core else {}
        return discover(entry_points=(), extra={**first, **plugins}, strict=True)

    return make
