"""Paths, sources and objectives on the simplex and on tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_DFM = "2407.15595"
_DIRICHLET = "2402.05841"


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_sequences.simplex"
    reg.add("geometry", "flat-simplex", f"{home}:FlatSimplex", summary="rows of probabilities, flat metric")
    reg.add(
        "source",
        "dirichlet",
        f"{home}:DirichletSource",
        summary="rows from a symmetric Dirichlet law",
        within="dirichlet-toy",
    )
    reg.add(
        "schedule",
        "cubic",
        "flowloom_sequences.schedules:Cubic",
        summary="cubic kappa with chosen slopes at both ends",
        paper=_DFM,
    )
    reg.add(
        "times",
        "exponential",
        f"{home}:ExponentialTimes",
        summary="a = 1 + 2 Exp(1) of Dirichlet flows, cut at t = 1",
        paper=_DIRICHLET,
    )
    reg.add("times", "at-source", f"{home}:AtSource", summary="always t = 0: one-step students")
    reg.add(
        "path",
        "noisy-mixture",
        "flowloom_sequences.noisy_mixture:NoisyMixturePath",
        summary="the three-term mixture: x0, uniform noise, x1; samples correct themselves",
        paper=_DFM,
        known_failures={"check_mixture_marginal": "a share of the tokens is uniform noise, by design"},
        example={"geometry": {"use": "discrete", "vocab": 5}},
    )
    reg.add(
        "path",
        "dirichlet",
        f"{home}:DirichletPath",
        summary="Dir(1 + s e_i), exact conditional velocity",
        paper=_DIRICHLET,
    )
