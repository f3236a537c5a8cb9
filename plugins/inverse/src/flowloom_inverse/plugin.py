"""The inverse plugin: its rows are in `flowloom_inverse.rows`, a module each method or topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add the kinds `operator` and `restorer`, what belongs to them, tasks and recipes."""
    reg.kind(
        "operator",
        contract="flowloom_inverse.operators.base:Operator",
        meaning="what is measured of data: y = A(x)",
        laws="flowloom_inverse.operators.laws",
    )
    reg.kind(
        "restorer",
        contract="flowloom_inverse.restorers.base:Restorer",
        meaning="answers to y = A(x) + noise by a trained flow, or by a rule to compare it with",
        laws="flowloom_inverse.restorers.laws",
    )
    reg.gather("flowloom_inverse.rows")
