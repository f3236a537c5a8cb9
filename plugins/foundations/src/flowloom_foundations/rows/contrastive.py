"""Contrastive flow matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_foundations.contrastive", "flowloom_foundations:recipes"
    reg.add(
        "objective",
        "contrastive",
        f"{home}:ContrastiveFlowMatching",
        summary="flow matching, pushed off the targets of other rows of the batch",
        paper="2506.05350",
        known_failures={"check_exact_answers_have_no_loss": "what stands off other rows is gained, not lost"},
    )
    reg.add(
        "guidance",
        "interference-removal",
        f"{home}:InterferenceRemoval",
        summary="classifier-free guidance of what a contrastive network would be without contrast",
        paper="2506.05350",
    )
    reg.recipe(
        "contrastive",
        f"{recipes}/contrastive.yaml",
        summary="contrastive flow matching on eight overlapping classes",
        paper="2506.05350",
    )
    reg.recipe(
        "contrastive-baseline",
        f"{recipes}/contrastive-baseline.yaml",
        summary="the same network under flow matching",
    )
    reg.recipe(
        "contrastive-digits",
        f"{recipes}/contrastive-digits.yaml",
        summary="contrastive flow matching on real digits (needs flowloom-images)",
        paper="2506.05350",
    )
    reg.recipe(
        "contrastive-imagenet",
        f"{recipes}/contrastive-imagenet.yaml",
        summary="SiT-XL/2 with contrastive flow matching at the paper's size",
        paper="2506.05350",
    )
