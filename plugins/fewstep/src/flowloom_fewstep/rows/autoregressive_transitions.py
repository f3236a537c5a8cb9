"""Transition matching token by token: ARTM and FHTM."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "objective",
        "autoregressive-transitions",
        "flowloom_fewstep.autoregressive_transitions:AutoregressiveTransitions",
        summary="the law of the next state token by token, after the last one (ARTM) or all (FHTM)",
        example={"steps": 2},
        paper="2506.23589",
        within="artm-curves",
    )
    reg.add(
        "solver",
        "transitions-by-token",
        "flowloom_fewstep.transitions_by_token:TransitionsByToken",
        summary="transitions whose tokens are drawn one after the other by an inner solve",
        example={"steps": 4},
        paper="2506.23589",
        within="artm-curves",
    )
    reg.add(
        "model",
        "transition-transformer",
        "flowloom_fewstep.transition_transformer:TransitionTransformer",
        summary="a transformer that reads states token by token and a small head for the next token",
        example={
            "width": 16,
            "depth": 1,
            "heads": 2,
            "patch": 1,
            "text": None,
            "head_width": 16,
            "head_depth": 1,
        },
        paper="2506.23589",
        within="artm-curves",
        known_failures={
            "check_every_parameter_learns": "the mean of the next token is that of y = 0, where the weights "
            "of y are not asked"
        },
    )
    home = "flowloom_fewstep:recipes"
    for name, summary in {
        "transition-matching-curves": "difference transition matching of curves, three steps (needs "
        "flowloom-trajectories)",
        "artm-curves": "autoregressive transition matching of curves (needs flowloom-trajectories)",
        "fhtm-curves": "full-history transition matching of curves (needs flowloom-trajectories)",
        "artm-t2i": "autoregressive transition matching by a trunk of 1.7 B parameters, the paper's size",
        "fhtm-t2i": "full-history transition matching by a trunk of 1.7 B parameters, the paper's size",
    }.items():
        reg.recipe(name, f"{home}/{name}.yaml", summary=summary, paper="2506.23589")
