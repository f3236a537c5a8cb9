"""The kind of dequantisers, and the uniform one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

HOME = "flowloom_likelihood.dequantizers"


def register(reg: Registrar) -> None:
    """Add the kind, which any objective of exact likelihood takes, and its plainest member."""
    reg.kind(
        "dequantizer",
        contract=f"{HOME}:Dequantizer",
        meaning="where in its cell a level of brightness is placed",
        laws=f"{HOME}.laws",
    )
    reg.add(
        "dequantizer",
        "uniform",
        f"{HOME}:UniformDequantizer",
        summary="every place in a cell is as likely",
        paper="1511.01844",
    )
