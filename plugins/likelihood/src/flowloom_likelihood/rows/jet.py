"""Jet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add the model and its recipes."""
    reg.add(
        "model",
        "jet",
        "flowloom_likelihood.models:Jet",
        summary="a plain stack of couplings between patches, each a vision transformer",
        example={"patch": 2, "couplings": 2, "depth": 1, "width": 16, "heads": 2, "spatial_every": 2},
        paper="2412.15129",
        within="digits-jet",
        known_failures={"check_time_and_state_matter": "a bijection has no time"},
    )
    for name, summary in (
        ("digits-jet", "Jet on real digits"),
        ("digits-jet-conv", "the same couplings with convolutions in place of transformers"),
        ("imagenet64-jet", "Jet on ImageNet 64x64 at the paper's size"),
    ):
        reg.recipe(name, f"flowloom_likelihood:recipes/{name}.yaml", summary=summary, paper="2412.15129")
