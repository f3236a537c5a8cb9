"""Lifecycle hooks of a run."""

from __future__ import annotations

import sys
from typing import Any

from flowloom_registry.errors import one_line
from flowloom_registry.plugins.catalog import Catalog

_told: set[tuple[str, str]] = set()


def notify(catalog: Catalog, hook: str, **arguments: Any) -> None:
    """Call a hook of every plugin; one that raises is reported once and does not stop the run."""
    for plugin, outcome in catalog.call_each(hook, **arguments):
        if isinstance(outcome, Exception) and (plugin, hook) not in _told:
            _told.add((plugin, hook))
            print(f"warning: {hook} of plugin {plugin} failed: {one_line(outcome)}", file=sys.stderr)
