"""Lifecycle hooks of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from flowloom.trackers import Tracker
from flowloom_registry.errors import one_line
from flowloom_registry.plugins.catalog import Catalog

_told: set[tuple[str, str]] = set()


def notify(catalog: Catalog, hook: str, **arguments: Any) -> None:
    """Call a hook of every plugin; one that raises is reported once and does not stop the run."""
    for plugin, outcome in catalog.call_each(hook, **arguments):
        if isinstance(outcome, BaseException) and (plugin, hook) not in _told:
            _told.add((plugin, hook))
            print(f"warning: {hook} of plugin {plugin} failed: {one_line(outcome)}", file=sys.stderr)


def track(trackers: Iterable[Tracker], call: Callable[[Tracker], None]) -> None:
    """Tell every tracker; one that raises (its server is down) is reported once and does not stop the run."""
    for tracker in trackers:
        try:
            call(tracker)
        except Exception as error:
            name = type(tracker).__name__
            if ("tracker", name) not in _told:
                _told.add(("tracker", name))
                print(f"warning: tracker {name} failed: {one_line(error)}", file=sys.stderr)
