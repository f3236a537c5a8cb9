"""Sliced-Wasserstein flows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_foundations.sliced", "flowloom_foundations:recipes"
    reg.add(
        "model",
        "sliced-flow",
        f"{home}:SlicedFlow",
        summary="sliced-Wasserstein flow by sorting: fitted to the data, without gradients",
        example={"layers": 3, "slices": 24, "bins": 16, "particles": 100},
        paper="2305.02164",
        data="scattered-classes",
    )
    reg.add(
        "objective",
        "fitted",
        f"{home}:Fitted",
        summary="no loss, for networks that are fitted (train.steps: 0)",
        paper="2305.02164",
        known_failures={
            **dict.fromkeys(
                (
                    "check_loss_reaches_the_model",
                    "check_follows_its_generator",
                    "check_exact_answers_have_no_loss",
                    "check_state_round_trip",
                ),
                "there is no loss",
            ),
            "check_field_is_of_its_kind": "the field was made of no path",
        },
    )
    reg.recipe(
        "cswf-digits",
        f"{recipes}/cswf-digits.yaml",
        summary="conditional sliced-Wasserstein flow on real digits (needs flowloom-images)",
        paper="2305.02164",
    )
    reg.recipe(
        "cswf-mnist",
        f"{recipes}/cswf-mnist.yaml",
        summary="the same on MNIST with the paper's pyramid of directions",
        paper="2305.02164",
    )
