"""The conformance suite as tests that run from outside, over components that somebody else lists.

Core knows no catalog, so whoever does (the registry's pytest plugin, or a ``conftest.py``) puts the
components under `COMPONENTS` in pytest's stash; then ``pytest --pyargs flowloom.testing.suite`` makes one
item of every component and check. Without pytest, `run` does the same and returns the verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from flowloom.kinds import Kind
from flowloom.testing.kinds import all_checks
from flowloom.testing.laws import Make
from flowloom.testing.parametrizing import items_of
from flowloom.testing.running import CheckResult, check


@dataclass(frozen=True)
class Component:
    """One component to check.

    Args:
        kind: its kind, by name or (a plugin's own) as a `flowloom.kinds.Kind`.
        name: shown in reports.
        make: builds a fresh instance.
        known: ``spec``, ``shape``, ``data`` or ``flow``, see `flowloom.testing.check`.
        expected_failures: reasons by name of check; strict.
    """

    kind: str | Kind
    name: str
    make: Make
    known: Mapping[str, Any] = field(default_factory=dict)
    expected_failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """``kind/name``."""
        return f"{self.kind if isinstance(self.kind, str) else self.kind.name}/{self.name}"


COMPONENTS: pytest.StashKey[list[Component]] = pytest.StashKey()
"""Where the suite looks for its components in ``config.stash``."""


def run(
    components: Iterable[Component], *, seed: int = 0, slow: bool = False
) -> dict[str, list[CheckResult]]:
    """Verdicts by ``kind/name``; none for a kind without laws."""
    return {
        c.label: check(c.make, c.kind, seed=seed, slow=slow, expected_failures=c.expected_failures, **c.known)
        for c in components
        if all_checks(c.kind)
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for every component and check."""
    if "conforms" not in metafunc.fixturenames:
        return
    params = [
        item
        for c in metafunc.config.stash.get(COMPONENTS, [])
        for item in items_of(c.make, c.kind, c.label, expected_failures=c.expected_failures, **c.known)
    ]
    metafunc.parametrize("conforms", params)


def test_conforms(conforms: Any) -> None:
    """The component obeys the law."""
    conforms()
