"""The command ``flowloom``. Nothing is discovered or imported before the arguments are understood."""

from __future__ import annotations

from flowloom_registry.cli.main import main

__all__ = ["main"]
