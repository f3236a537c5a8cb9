"""Recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_inverse:recipes"
    reg.recipe(
        "restore-digits",
        f"{home}/restore-digits.yaml",
        summary="in-painting, deblurring and super-resolution of digits by FlowDPS",
        paper="2503.08136",
    )
    reg.recipe(
        "restore-digits-flair",
        f"{home}/restore-digits-flair.yaml",
        summary="one faithful answer to each question about digits, by FLAIR",
        paper="2506.02680",
    )
    reg.recipe(
        "restore-series",
        f"{home}/restore-series.yaml",
        summary="gaps, clipping and slow sampling of series undone by FlowDPS",
        paper="2503.08136",
    )
    for name, summary, paper in (
        ("restore-sd3", "inverse problems by FlowDPS and a network as large as SD3 medium", "2503.08136"),
        ("restore-sd35-flair", "the same by FLAIR and a network as large as SD3.5 medium", "2506.02680"),
        ("invert-sd3", "inversion by FlowOpt and a network as large as SD3 medium", None),
        ("sd3-autoencoder", "a stage that trains an autoencoder as large as SD3's", "2403.03206"),
    ):
        reg.recipe(name, f"{home}/{name}.yaml", summary=summary, paper=paper)
