"""Conformance of what is registered: every row is built from its example and held to the laws of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowloom.errors import DataError, MissingDependencyError
from flowloom_registry.config.example import build_component, build_example, plan_component
from flowloom_registry.errors import ConfigError, one_line

if TYPE_CHECKING:
    from flowloom.data import Dataset
    from flowloom.testing import CheckResult
    from flowloom_registry.plugins.catalog import Catalog
    from flowloom_registry.plugins.rows import Row

FILES = "files"
"""Tag of data sets that read files, which may be absent where a check runs."""


def check_row(
    row: Row,
    catalog: Catalog,
    *,
    arguments: Mapping[str, Any] | None = None,
    seed: int = 0,
    slow: bool = False,
) -> list[CheckResult]:
    """Build a row from its example and check it.

    Args:
        row: which one.
        catalog: where it and what it nests are looked up.
        arguments: constructor arguments over those of the example.
        seed: of everything drawn.
        slow: also run checks that take seconds.

    Raises:
        ConfigError: ``arguments`` do not fit the constructor's signature.
    """
    data = data_of(row.plugin.name, catalog)
    given = {"spec": data.spec, "dataset": data}
    if arguments:
        row = replace(row, example={**row.example, **arguments})
        plan_component(row.kind, row.qualified, row.example, given=given, catalog=catalog, place=row.label)

    def make() -> Any:
        return build_example(row, given=given, catalog=catalog)

    return check_made(
        make,
        row.kind,
        data,
        may_lack_files=FILES in row.tags,
        known_failures=row.known_failures,
        seed=seed,
        slow=slow,
    )


def check_target(
    kind: str,
    reference: str,
    arguments: Mapping[str, Any],
    catalog: Catalog,
    *,
    seed: int = 0,
    slow: bool = False,
) -> list[CheckResult]:
    """Build a component from a file or module and check it; see `check_row`."""
    data = data_of("core", catalog)
    given = {"spec": data.spec, "dataset": data}

    def make() -> Any:
        return build_component(kind, reference, arguments, given=given, catalog=catalog)

    return check_made(make, kind, data, seed=seed, slow=slow)


def check_made(
    make: Callable[[], Any],
    kind: str,
    data: Dataset,
    *,
    may_lack_files: bool = False,
    known_failures: Mapping[str, str] | None = None,
    seed: int = 0,
    slow: bool = False,
) -> list[CheckResult]:
    """Check what ``make`` builds; a failure to build is a failed check of its own."""
    from flowloom.testing import KINDS, CheckResult, check

    try:
        made = make()
        if kind == "dataset":
            made.take(_first_row())
    except (ConfigError, DataError) as error:
        no_files = may_lack_files and any(isinstance(e, DataError) for e in (error, error.__cause__))
        return [CheckResult("check_builds", "skipped" if no_files else "failed", str(error), seed=seed)]
    except MissingDependencyError as error:
        return [CheckResult("check_builds", "skipped", str(error), seed=seed)]
    except Exception as error:
        return [CheckResult("check_builds", "failed", one_line(error), seed=seed)]
    built = CheckResult("check_builds", "passed", seed=seed)
    if kind not in KINDS:
        return [built]
    results = check(
        make,
        kind,
        spec=data.spec,
        data=data,
        expected_failures=known_failures,
        seed=seed,
        slow=slow,
    )
    return [built, *results]


def data_of(plugin: str, catalog: Catalog) -> Dataset:
    """A small data set of the plugin's own that needs no files; core's eight Gaussians where it has none."""
    own = [r for r in catalog.of_kind("dataset") if r.plugin.name == plugin and FILES not in r.tags]
    data: Dataset
    if own and plugin != "core":
        data = build_example(own[0], catalog=catalog)
    else:
        data = build_component("dataset", "core:eight-gaussians", {"n": 512}, catalog=catalog)
    return data


def _first_row() -> Any:
    import torch

    return torch.arange(1)
