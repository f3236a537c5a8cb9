"""Poisson flows with extra dimensions, on noise levels (PFGM++)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_foundations.poisson", "flowloom_foundations:recipes", "2302.04265"
    reg.add(
        "source",
        "poisson-kernel",
        f"{home}:PoissonKernel",
        summary="noise of heavy tails, from a charge in D extra dimensions; the Gaussian at D = inf",
        example={"extra_dims": 8, "sigma": 2},
        paper=paper,
    )
    reg.add(
        "path",
        "noise-levels",
        f"{home}:NoiseLevels",
        summary="data under fading noise, in the time of its level: from 80 down to 0.002",
        paper="2206.00364",
    )
    reg.add(
        "times",
        "log-normal-levels",
        f"{home}:LogNormalLevels",
        summary="noise levels whose logarithm is normal",
        example={"path": "noise-levels"},
        paper="2206.00364",
    )
    reg.add(
        "weight",
        "edm",
        f"{home}:EDMWeight",
        summary="evens out the loss of a preconditioned denoiser over noise levels",
        paper="2206.00364",
    )
    reg.add(
        "model",
        "preconditioned",
        f"{home}:Preconditioned",
        summary="a denoiser of noise levels around any network",
        example={"network": {"use": "mlp", "width": 16, "depth": 1}},
        paper="2206.00364",
    )
    reg.add(
        "solver",
        "edm-heun",
        f"{home}:EDMHeun",
        summary="Heun's method on noise levels that crowd at the data, denoising at the end",
        # Its laws walk from 0 to 1, where rho = 7 would take two steps over half of the way.
        example={"rho": 3},
        paper="2206.00364",
    )
    reg.recipe(
        "pfgmpp",
        f"{recipes}/pfgmpp.yaml",
        summary="PFGM++ on handwritten digits with a small network (needs flowloom-images)",
        paper=paper,
    )
    reg.recipe(
        "pfgmpp-cifar10",
        f"{recipes}/pfgmpp-cifar10.yaml",
        summary="PFGM++ on CIFAR-10 at the paper's size (needs flowloom-images)",
        paper=paper,
    )
    reg.recipe(
        "pfgmpp-ffhq64",
        f"{recipes}/pfgmpp-ffhq64.yaml",
        summary="PFGM++ on FFHQ-64 at the paper's size (needs flowloom-images)",
        paper=paper,
    )
