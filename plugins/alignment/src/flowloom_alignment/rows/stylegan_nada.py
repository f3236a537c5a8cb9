"""StyleGAN-NADA: a generator moved along a direction of a joint embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_alignment.nada", "flowloom_alignment:recipes"
    reg.add(
        "dataset",
        "styled",
        f"{home}.styled:Styled",
        summary="images in several styles with captions (of digits: needs flowloom-images)",
        example={"of": "digits"},
    )
    reg.add(
        "model",
        "joint-encoder",
        f"{home}.joint_encoder:JointEncoder",
        summary="images and texts in one space, small",
        paper="2103.00020",
        within="styled-encoder",
        known_failures={
            "check_output_shape": "it answers with an embedding",
            "check_time_and_state_matter": "it knows no time",
            "check_every_parameter_learns": "texts are embedded beside the answer",
        },
    )
    reg.add(
        "objective",
        "image-text",
        f"{home}.joint_encoder:ImageText",
        summary="which caption belongs to which image of a batch: trains a joint-encoder",
        paper="2103.00020",
        within="styled-encoder",
    )
    reg.add(
        "objective",
        "directional",
        f"{home}.directional:Directional",
        summary="moves every sample of a frozen flow's copy as a text says",
        paper="2108.00946",
        example={"before": ["a plain digit"], "after": ["a bold digit"], "compare": "global", "steps": 1},
        within="styled-encoder",
        known_failures={
            "check_exact_answers_have_no_loss": "it is no regression: it looks at where samples end",
            "check_times_follow_the_law": "it is asked at the times of its steps",
        },
    )
    reg.add(
        "score",
        "adaptation",
        f"{home}.adaptation:Adaptation",
        summary="style, class and spread of adapted samples, by classifiers that training did not see",
        paper="2108.00946",
        example={"n": 40, "lines": 5, "data": {"use": "styled", "of": "digits"}},
        within="styled-generator",
        known_failures={"check_truth_is_better": "it judges what became of a flow, and not its law"},
    )
    for name, summary in (
        ("styled-encoder", "a joint encoder of digits in five styles and their captions"),
        ("styled-generator", "a flow of plain digits without classes, in four steps"),
        ("nada-digits", "plain digits to inverted ones, or bold ones, by two captions"),
    ):
        reg.recipe(
            name, f"{recipes}/{name}.yaml", summary=f"{summary} (needs flowloom-images)", paper="2108.00946"
        )
