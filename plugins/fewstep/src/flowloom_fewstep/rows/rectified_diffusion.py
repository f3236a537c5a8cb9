"""Rectified Diffusion, and rectified flow as its special case."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_fewstep", "flowloom_fewstep:recipes"
    reg.add(
        "objective",
        "rectified-diffusion",
        f"{home}.rectified_diffusion:RectifiedDiffusion",
        summary="pseudo-Huber error of implied data on a model's own pairs, on any affine schedule",
        paper="2410.07303",
    )
    reg.add(
        "schedule",
        "scaled-linear-vp",
        f"{home}.scaled_linear_vp:ScaledLinearVP",
        summary="that of Stable Diffusion: variance preserving, the root of the noise rate is linear",
        paper="2112.10752",
    )
    reg.add(
        "solver",
        "ddim",
        f"{home}.ddim:DDIM",
        summary="steps that keep predicted data and noise: exact where the way is first-order",
        paper="2010.02502",
    )
    reg.add(
        "score",
        "first-orderness",
        f"{home}.first_order:FirstOrderness",
        summary="how much the predicted noise changes along the flow's own ways",
        example={"steps": 4, "n": 50},
        paper="2410.07303",
        known_failures={"check_truth_is_better": "it judges the flow's ways, and not what they end at"},
    )
    reg.recipe(
        "rectified-diffusion",
        f"{recipes}/rectified-diffusion.yaml",
        summary="a diffusion of the checkerboard retrained on its own pairs: one step as good as fifty",
        paper="2410.07303",
    )
    reg.recipe(
        "rectified-diffusion-base",
        f"{recipes}/rectified-diffusion-base.yaml",
        summary="the diffusion itself, 50 DDIM steps",
        paper="2410.07303",
    )
    reg.recipe(
        "rectified-diffusion-control",
        f"{recipes}/rectified-diffusion-control.yaml",
        summary="the same retraining with fresh noise beside the same samples",
        paper="2410.07303",
    )
    reg.recipe(
        "rectified-flow-base",
        f"{recipes}/rectified-flow-base.yaml",
        summary="flow matching before reflow, 50 Euler steps",
        paper="2209.03003",
    )
    reg.recipe(
        "rectified-flow",
        f"{recipes}/rectified-flow.yaml",
        summary="the straight case: flow matching, then reflow on its own pairs, one Euler step",
        paper="2209.03003",
    )
    reg.recipe(
        "rectified-diffusion-sd15",
        f"{recipes}/rectified-diffusion-sd15.yaml",
        summary="the same of a DiT-XL/2 in the latents of Stable Diffusion, with the paper's settings",
        paper="2410.07303",
    )
