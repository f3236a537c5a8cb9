"""The audio plugin: its rows are in `flowloom_audio.rows`, a module each topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add recordings, log-mel, networks, judges, tasks and recipes of speech."""
    reg.gather("flowloom_audio.rows")
