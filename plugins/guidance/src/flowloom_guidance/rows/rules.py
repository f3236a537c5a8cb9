"""Rules that steer a field, and the solvers that some of them want."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_guidance", "flowloom_guidance:recipes"
    reg.add(
        "guidance",
        "raag",
        f"{home}.raag:RAAG",
        summary="a weight that falls where conditional and unconditional answers are far apart",
        paper="2508.03442",
        example={"weight": 7.0},
    )
    reg.add(
        "guidance",
        "rescaled",
        f"{home}.rescaled:Rescaled",
        summary="classifier-free guidance that keeps the deviation of the conditional answer",
        paper="2305.08891",
        example={"weight": 3.0},
    )
    reg.add(
        "guidance",
        "auto",
        f"{home}.auto:AutoGuidance",
        summary="away from a weaker version of the same model",
        paper="2406.02507",
        within="eight-gaussians",
        known_failures={
            law: "its weaker model knows the states of its own data, and the law asks with others"
            for law in (
                "check_shape_is_kept",
                "check_evaluations_are_counted",
                "check_unconditional_is_left_alone",
            )
        },
    )
    reg.add(
        "guidance",
        "composed",
        f"{home}.composed:Composed",
        summary="products and negations of what one network knows, with a weight for each condition",
        paper="2402.01103",
        example={"terms": [{"given": {"label": 1}, "weight": 2.0}, {"given": {"label": 2}, "weight": -1.0}]},
    )
    reg.add(
        "guidance",
        "by-energy",
        f"{home}.by_energy:ByEnergy",
        summary="towards low energy, by its gradient at the predicted data or at the state",
        paper="2209.14687",
        within="tilt-gaussians",
        known_failures={
            law: "its energy is of states of its own data, and the law asks with others"
            for law in (
                "check_shape_is_kept",
                "check_evaluations_are_counted",
                "check_unconditional_is_left_alone",
            )
        },
    )
    reg.add(
        "solver",
        "annealed-langevin",
        f"{home}.langevin:AnnealedLangevin",
        summary="Langevin steps at every level: what composed scores need",
        paper="2302.11552",
        example={"steps": 20, "corrections": 2},
    )
    reg.add(
        "solver",
        "source-guided",
        f"{home}.source_guided:SourceGuided",
        summary="draws x0 so that the flow ends in a law tilted by an energy",
        paper="2508.14807",
        within="tilt-gaussians",
        example={"how": "hmc", "iterations": 2, "leapfrog": 2},
        known_failures={
            "check_trajectory": "it does not start where it is told to",
            "check_marginals": "it draws from a tilted law",
        },
    )
    reg.add(
        "energy",
        "linear",
        f"{home}.tilted:Linear",
        summary="an exponential tilt along one direction",
        example={},
    )
    reg.add(
        "metric",
        "tilted",
        f"{home}.tilted:Tilted",
        summary="another metric, against the law tilted by an energy",
        within="tilt-gaussians",
        example={"of": "energy-distance"},
        known_failures={"check_real_beats_noise": "data are not of the tilted law"},
    )
    reg.add(
        "dataset",
        "crossed-bars",
        f"{home}.crossed_bars:CrossedBars",
        summary="bars to compose; held-out rows are their product",
        example={"n": 500},
    )
    for name, paper, summary in (
        ("compose-bars", "2402.01103", "bars that cross only when composed"),
        ("tilt-gaussians", "2508.14807", "an exponential tilt of eight Gaussians by the choice of x0"),
        ("raag-digits", "2508.03442", "strong guidance of digits in few steps (needs flowloom-images)"),
        ("raag-sd35-large", "2508.03442", "strong guidance of a network as large as SD3.5 large (many GPUs)"),
        (
            "rescaled-digits",
            "2305.08891",
            "strong guidance of digits, rescaled or in an interval (needs images)",
        ),
        ("auto-guidance", "2406.02507", "a checkerboard guided away from a smaller, briefer model"),
        (
            "auto-guidance-markov",
            "2406.02507",
            "logits of a toy language likewise (needs flowloom-sequences)",
        ),
        ("interval-classes", "2404.07724", "classes guided in an interval (needs flowloom-foundations)"),
        ("guided-dna", "2404.07724", "logits guided in an interval, and rescaled (needs flowloom-sequences)"),
        ("energy-gaussians", "2209.14687", "eight Gaussians tilted by the gradient of an energy"),
        (
            "energy-waves",
            "2209.14687",
            "series tilted by the gradient of an energy (needs flowloom-trajectories)",
        ),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
