"""GFlowNets on continuous spaces (2301.12594)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add three environments, energies of which everything is known, scores, and recipes."""
    home, paper = "flowloom_gflownets", "2301.12594"
    for name, target, summary in (
        ("box-arcs", "box:BoxArcs", "a square walked in arcs, stopping anywhere"),
        ("torus-jumps", "torus:TorusJumps", "a torus walked in a number of jumps"),
        ("brownian", "brownian:Brownian", "R^n walked by a controlled Brownian motion"),
    ):
        energy = {"box-arcs": "corners", "torus-jumps": "torus-mixture", "brownian": "gaussian-mixture"}[name]
        reg.add(
            "environment",
            name,
            f"{home}.continuous.{target}",
            summary=summary,
            example={"energy": energy, **({"reach": 0.4} if name == "box-arcs" else {})},
            paper=paper,
        )
    for name, target, summary, about in (
        ("corners", "Corners", "modes near the corners of the unit cube", "2106.04399"),
        ("funnel", "Funnel", "Neal's funnel", None),
        ("many-well", "ManyWell", "pairs of a double well and a normal", None),
        ("torus-mixture", "TorusMixture", "a mixture of von Mises laws on a torus", None),
    ):
        reg.add("energy", name, f"{home}.energies:{target}", summary=summary, paper=about)
    reg.add(
        "score",
        "walk-weights",
        f"{home}.weights:WalkWeights",
        summary="what the weights of a policy's walks say of log Z",
        example={"n": 64},
        paper=paper,
        within="nine-gaussians-tb",
    )
    reg.add(
        "score",
        "smoothed-gap",
        f"{home}.continuous.samples:SmoothedGap",
        summary="divergence of smoothed samples from a smoothed target on a bounded space",
        example={"points": 200},
        paper=paper,
        within="torus-tb",
    )
    reg.add(
        "score",
        "modes-found",
        f"{home}.continuous.samples:ModesFound",
        summary="share of the components of a mixture that get their samples",
        known_failures={"check_truth_is_better": "both laws of the check miss all modes but one"},
        within="nine-gaussians-tb",
    )
    reg.add(
        "objective",
        "reverse-kl",
        f"{home}.reverse_kl:ReverseKL",
        summary="path integral sampler: the bound on log Z, through the whole walk",
        paper="2111.15141",
        within="nine-gaussians-tb",
        known_failures={
            "check_exact_answers_have_no_loss": "a walk is no point of a path, and has no target",
        },
    )
    for name, summary in (
        ("box-tb", "trajectory balance on a square walked in arcs, without data"),
        ("box-db", "detailed balance on the same square"),
        ("nine-gaussians-tb", "trajectory balance on nine Gaussians, in 30 steps of Brownian motion"),
        ("torus-tb", "trajectory balance on a torus"),
        ("gaussians-tb-full", "25 Gaussians in 100 steps, at the paper's size"),
    ):
        reg.recipe(name, f"{home}:recipes/{name}.yaml", summary=summary, paper=paper)
    reg.recipe(
        "nine-gaussians-kl",
        f"{home}:recipes/nine-gaussians-kl.yaml",
        summary="nine Gaussians by the path integral sampler",
        paper="2111.15141",
    )
