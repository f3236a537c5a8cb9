"""Bijections of vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add the models, and a recipe that they are checked in."""
    timeless = {"check_time_and_state_matter": "a bijection has no time"}
    reg.add(
        "model",
        "vector-couplings",
        "flowloom_likelihood.models.vectors:VectorCouplings",
        summary="RealNVP on vectors",
        paper="1605.08803",
        example={"couplings": 4, "width": 16},
        within="moons-realnvp",
        known_failures=timeless,
    )
    reg.add(
        "model",
        "mixture-autoregressive",
        "flowloom_likelihood.models.vectors:MixtureAutoregressive",
        summary="entry by entry, each a mixture given those before it",
        paper="1701.05517",
        example={"components": 4, "width": 16},
        within="moons-realnvp",
        known_failures=timeless,
    )
    reg.recipe(
        "moons-realnvp",
        "flowloom_likelihood:recipes/moons-realnvp.yaml",
        summary="couplings on two moons, half a minute",
        paper="1605.08803",
    )
