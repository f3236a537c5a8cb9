"""Flow++."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

PAPER = "1902.00275"


def register(reg: Registrar) -> None:
    """Add the model, the learned dequantiser and their recipes."""
    small: dict[str, object] = {"filters": 8, "blocks": 1, "components": 2, "heads": 2}
    reg.add(
        "model",
        "flow-plus-plus",
        "flowloom_likelihood.models:FlowPlusPlus",
        summary="couplings by mixtures of logistics, told by gated convolution and attention",
        example={**small, "layout": ["checkerboard", "squeeze", "channels"]},
        paper=PAPER,
        within="digits-flow-plus-plus",
        known_failures={"check_time_and_state_matter": "a bijection has no time"},
    )
    reg.add(
        "dequantizer",
        "flow",
        "flowloom_likelihood.dequantizers.flow:FlowDequantizer",
        summary="variational dequantisation by a conditional flow, for any bijection",
        example={**small, "couplings": 2, "context": 4},
        paper=PAPER,
        within="digits-flow-plus-plus",
    )
    for name, summary in (
        ("digits-flow-plus-plus", "Flow++ on real digits"),
        ("mnist-flow-plus-plus", "Flow++ on MNIST, minutes on one core"),
        ("mnist-glow", "Glow on the same images, to compare with"),
        ("cifar10-flow-plus-plus", "Flow++ on CIFAR-10 at the paper's size"),
    ):
        reg.recipe(name, f"flowloom_likelihood:recipes/{name}.yaml", summary=summary, paper=PAPER)
