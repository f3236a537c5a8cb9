"""The two pluggy markers: ``hookimpl`` for plugins, ``hookspec`` for flowloom itself."""

from __future__ import annotations

import pluggy

PROJECT = "flowloom"
"""Name under which hooks, entry points and markers belong together."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
