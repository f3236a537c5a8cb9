"""ProReflow, and what shows how straight windows are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_fewstep", "flowloom_fewstep:recipes"
    reg.add(
        "objective",
        "proreflow",
        f"{home}.proreflow:ProReflow",
        summary="reflow within windows of the time, direction above length",
        example={"steps": 2, "condition_dropout": 0.1},
        paper="2503.04824",
        within="eight-gaussians",
    )
    reg.add(
        "score",
        "chords",
        f"{home}.chords:Chords",
        summary="angle and distance of velocities from chords of a teacher's ways",
        example={"fine": 2, "n": 50},
        paper="2503.04824",
        within="eight-gaussians",
        known_failures={"check_truth_is_better": "it judges the flow's ways, and not what they end at"},
    )
    for name, summary in (
        ("proreflow-checkerboard", "a diffusion of the checkerboard straightened in 8, then 4 windows"),
        ("proreflow-checkerboard-direct", "the same in 4 windows at once, as PeRFlow does"),
        ("proreflow-digits", "real digits straightened in 8, then 4 windows (needs flowloom-images)"),
        ("proreflow-sd15", "the same in the latents of Stable Diffusion, with the paper's teacher"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper="2503.04824")
