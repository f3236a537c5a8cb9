"""Self-corrected flow distillation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_fewstep", "flowloom_fewstep:recipes"
    reg.add(
        "objective",
        "self-corrected",
        f"{home}.self_corrected:SelfCorrected",
        summary="consistency both ways, a critic of the one step, and reflow of it",
        example={"critic": {"use": "mlp-critic", "width": 16, "depth": 2}},
        paper="2412.16906",
        within="eight-gaussians",
        known_failures={
            "check_exact_answers_have_no_loss": "its targets are an average's, a teacher's step away, and "
            "no pair's own"
        },
    )
    for name, summary in (
        ("self-corrected-checkerboard", "one student for 1, 2 and 4 steps of the checkerboard, two minutes"),
        ("self-corrected-celeba-256", "latents of faces at the paper's size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper="2412.16906")
