"""GoalFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_trajectories.goals", "flowloom_trajectories:recipes", "2503.05689"
    reg.add(
        "dataset",
        "junction",
        f"{home}:Junction",
        summary="ways through a junction of three exits, one of them blocked",
        example={"n": 200},
    )
    reg.add(
        "model",
        "goal-scorer",
        f"{home}:GoalScorer",
        summary="scores of a vocabulary of goals in a scene",
        example={"goals": 8, "width": 16},
        data="junction",
        paper=paper,
        known_failures={
            "check_output_shape": "it answers with scores of goals",
            "check_time_and_state_matter": "it reads the scene alone",
        },
    )
    reg.add(
        "model",
        "goal-transformer",
        f"{home}:GoalTransformer",
        summary="tokens of scene, goal and waypoints with a band of attention",
        example={"width": 16, "depth": 3, "heads": 2},
        data="junction",
        paper=paper,
        tags=("transformer",),
    )
    reg.add(
        "model",
        "linear-skip-mlp",
        f"{home}:LinearSkipMLP",
        summary="multilayer perceptron beside a linear map of state and conditions",
        example={"width": 16, "depth": 1},
        data="junction",
    )
    reg.add(
        "objective",
        "goal-scores",
        f"{home}:GoalScores",
        summary="soft labels of goals by distance, and whether they are drivable",
        within="goal-scorer",
        paper=paper,
        known_failures={
            name: "it learns goals of its own data, by a vocabulary fitted to them"
            for name in (
                "check_loss_reaches_the_model",
                "check_follows_its_generator",
                "check_state_round_trip",
            )
        },
    )
    reg.add(
        "objective",
        "goal-flow",
        f"{home}:GoalFlow",
        summary="flow matching to ways, told goals that a scorer chooses",
        example={},
        paper=paper,
    )
    reg.add(
        "metric",
        "failures",
        f"{home}:Failures",
        summary="share of ways through a junction that fail, and whether all exits are taken",
        data="junction",
        known_failures={"check_is_paired": "which exits are taken is told by all ways together"},
    )
    reg.add(
        "task",
        "goal-plan",
        f"{home}:GoalPlan",
        summary="a goal, candidates, the best of them, and shadows that deny bad goals",
        within="goalflow",
        paper=paper,
    )
    for name, summary in (
        ("goal-scorer", "scores of goals at a junction"),
        ("goalflow", "ways through a junction by scored goals, in one step"),
        ("goalflow-without-goals", "the same network without goals"),
        ("goalflow-navsim", "the network of the paper, on its eight poses"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
