"""Control: worlds, policies that learn in them, plans that are carried out there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

HOME, RECIPES = "flowloom_trajectories.control", "flowloom_trajectories:recipes"


def register(reg: Registrar) -> None:
    """Add the kind of worlds with its section, and what acts in them."""
    reg.kind("env", contract=f"{HOME}.env:Env", meaning="a world that agents act in", laws=f"{HOME}.laws")
    reg.section("env", "env", meaning="the world that is acted in")
    _worlds(reg)
    _learning(reg, "2507.21053")
    _planning(reg, "2311.13443")


def _worlds(reg: Registrar) -> None:
    for name, target, summary, example in (
        ("maze", "maze:MazeEnv", "a maze walked by displacements, -1 a step", {"steps": 12}),
        ("hidden-goals", "bandits:HiddenGoals", "one of several goals is right, and nothing is seen", {}),
        ("two-goals", "bandits:TwoGoals", "a square with a goal on either side", {}),
    ):
        reg.add("env", name, f"{HOME}.{target}", summary=summary, example=example)
    reg.add(
        "env",
        "gymnasium",
        f"{HOME}.gymnasium:Gymnasium",
        summary="an environment of gymnasium with real-valued actions",
        example={"id": "Pendulum-v1", "returns": [-2000.0, 0.0], "steps": 5},
        requires=("gymnasium",),
    )
    reg.add(
        "renderer",
        "episodes",
        f"{HOME}.renderer:EpisodeView",
        summary="ways of agents over the map of their world",
        example={"env": "maze"},
    )
    reg.add(
        "score",
        "closed-loop",
        f"{HOME}.closed_loop:ClosedLoop",
        summary="returns of episodes in which the flow acts",
        within="fpo-hidden-goals",
    )
    reg.add(
        "score",
        "choices",
        f"{HOME}.choices:Choices",
        summary="whether a policy knows several ways where several are as good",
        within="fpo-hidden-goals",
    )


def _learning(reg: Registrar, paper: str) -> None:
    silent = {
        "check_output_shape": "it answers with one number an observation",
        "check_time_and_state_matter": "it reads the observation alone",
    }
    for name, target, summary, failures in (
        ("flow-policy", "FlowPolicy", "a flow policy: observation, noisy action, time", {}),
        (
            "gaussian-policy",
            "GaussianPolicy",
            "a Gaussian policy as a flow of one step",
            {"check_time_and_state_matter": "it has one step, at one time"},
        ),
        ("value-mlp", "ValueMLP", "what an observation promises", silent),
    ):
        reg.add(
            "model",
            name,
            f"{HOME}.networks:{target}",
            summary=summary,
            example={"width": 8, "depth": 1},
            paper=paper,
            data="random-acts",
            known_failures=failures,
        )
    for name, target, about in (
        ("fpo", "FPO", "clipped policy gradients by differences of flow-matching losses"),
        ("gaussian-ppo", "GaussianPPO", "clipped policy gradients of a Gaussian policy"),
    ):
        reg.add(
            "objective",
            name,
            f"{HOME}.policy_gradient:{target}",
            summary=about,
            paper=paper if name == "fpo" else "1707.06347",
            within="fpo-hidden-goals" if name == "fpo" else "ppo-hidden-goals",
        )
    reg.add(
        "feed",
        "on-policy",
        f"{HOME}.on_policy:OnPolicy",
        summary="rollouts of the present policy, learned from for some epochs",
        example={"envs": 32, "unroll": 4, "epochs": 2},
        paper=paper,
        within="fpo-hidden-goals",
    )
    for name, summary in (
        ("fpo-hidden-goals", "a flow policy that has to try several goals, nothing being seen"),
        ("ppo-hidden-goals", "the same with a Gaussian policy"),
        ("fpo-two-goals", "a flow policy for which two ways are as good"),
        ("ppo-two-goals", "the same with a Gaussian policy"),
        ("fpo-playground", "the networks and settings of the paper, on an environment of gymnasium"),
    ):
        reg.recipe(name, f"{RECIPES}/{name}.yaml", summary=summary, paper=paper)


def _planning(reg: Registrar, paper: str) -> None:
    reg.add(
        "dataset",
        "acts",
        f"{HOME}.demonstrations:Acts",
        summary="actions of scripted or random agents under what was seen",
        example={"env": "maze", "n": 200, "episodes": 8, "skills": [0.5], "after": True},
    )
    reg.add(
        "dataset",
        "random-acts",
        f"{HOME}.demonstrations:Acts",
        summary="the same of agents that act at random",
        example={"env": "two-goals", "n": 200, "episodes": 8},
    )
    reg.add(
        "dataset",
        "demonstrations",
        f"{HOME}.demonstrations:Demonstrations",
        summary="what agents of mixed skill saw, and the return that was to come",
        example={"env": "maze", "n": 200, "episodes": 8},
        paper=paper,
    )
    reg.add(
        "objective",
        "regression",
        f"{HOME}.regression:Regression",
        summary="the mean under the conditions: cloning, inverse dynamics",
        example={},
        known_failures={
            "check_times_follow_the_law": "it is asked at time 0 alone",
        },
    )
    for name, summary in (
        ("guided-planner", "plans under a wanted return, guided, in a maze of mixed demonstrations"),
        ("guided-planner-d4rl", "the planner at the size of Diffuser's networks"),
        ("behaviour-cloning", "the mean action of the same demonstrations"),
    ):
        reg.recipe(name, f"{RECIPES}/{name}.yaml", summary=summary, paper=paper)
