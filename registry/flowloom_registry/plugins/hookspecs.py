"""Every hook that a plugin may implement. Implementations may take fewer arguments than listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flowloom_registry.markers import hookspec

if TYPE_CHECKING:
    import argparse

    from flowloom_registry.plugins.registrar import Registrar


@hookspec
def flowloom_register(reg: Registrar) -> None:
    """Add the plugin's rows (components, recipes, kinds, sections) to ``reg``; import nothing heavy."""


@hookspec
def flowloom_run_started(run: Any) -> None:
    """A run is about to take its first (or first resumed) training step."""


@hookspec
def flowloom_step(run: Any, step: int, metrics: Mapping[str, float]) -> None:
    """Training step number ``step`` is done; ``metrics`` holds its loss and named parts."""


@hookspec
def flowloom_sampled(run: Any, samples: Any) -> None:
    """``samples`` were drawn from the run's model."""


@hookspec
def flowloom_evaluated(run: Any, results: Mapping[str, Any]) -> None:
    """The run's metrics were computed; ``results`` maps their names to values."""


@hookspec
def flowloom_finished(run: Any) -> None:
    """The run reached its last step and everything is written."""


@hookspec
def flowloom_doctor() -> Iterable[str]:
    """Return one line for each thing in the user's installation that the plugin cannot work with."""
    return ()


@hookspec
def flowloom_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add commands; each parser sets ``run=callable(args) -> exit code`` by ``set_defaults``."""
