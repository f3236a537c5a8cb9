"""SDE matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_trajectories.latent_sde", "flowloom_trajectories:recipes", "2502.02472"
    for name, target, summary in (
        (
            "ornstein-uhlenbeck",
            "OrnsteinUhlenbeck",
            "a linear diffusion at irregular times, likelihood exact",
        ),
        ("stochastic-lorenz", "StochasticLorenz", "the Lorenz system with noise"),
    ):
        reg.add(
            "dataset",
            name,
            f"{home}:{target}",
            summary=summary,
            example={"n": 40, "length": 6},
            paper=paper,
        )
    reg.add(
        "model",
        "latent-sde",
        f"{home}:LatentSDE",
        summary="a latent diffusion, its observations, and the marginals of its posterior",
        example={"latent": 2, "width": 8, "until": 4.0},
        paper=paper,
        data="ornstein-uhlenbeck",
        known_failures={
            "check_time_and_state_matter": "it reads whole series, with times of their own",
            "check_every_parameter_learns": "reconstructions ask neither drift nor diffusion",
        },
    )
    for name, target, summary in (
        ("sde-matching", "SDEMatching", "the bound of a latent diffusion from random times"),
        ("sde-simulated", "SimulatedSDE", "the same bound along simulated ways, with gradients through them"),
    ):
        reg.add(
            "objective",
            name,
            f"{home}:{target}",
            summary=summary,
            paper=paper,
            within="sde-matching",
            known_failures={"check_exact_answers_have_no_loss": "a bound of likelihoods is no distance"},
            tags=("heavy",),
        )
    reg.add(
        "solver",
        "latent-rollout",
        f"{home}:LatentRollout",
        summary="series of a latent diffusion",
        paper=paper,
        within="sde-matching",
    )
    reg.add(
        "score",
        "nelbo-gap",
        f"{home}:NelboGap",
        summary="bound of held-out series less their exact negative log likelihood",
        paper=paper,
        within="sde-matching",
        tags=("heavy",),
        known_failures={"check_truth_is_better": "it asks the diffusion, and not samples"},
    )
    for name, summary in (
        ("sde-matching", "a latent diffusion of irregular series, trained without simulation"),
        ("sde-lorenz", "stochastic Lorenz series at the size of the paper's notebook"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
    reg.recipe(
        "sde-simulated", f"{recipes}/sde-simulated.yaml", summary="the same model, simulated in training"
    )
