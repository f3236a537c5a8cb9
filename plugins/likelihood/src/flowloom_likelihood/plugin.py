"""The rows of the likelihood plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

HOME = "flowloom_likelihood"
_NO_TIME = {"check_time_and_state_matter": "a bijection has no time"}


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add bijections, Glow, the objective, the codec, the score, the solver and recipes."""
    reg.kind(
        "bijection",
        contract=f"{HOME}.bijections:Bijection",
        meaning="an invertible map of data to noise with its log-determinant",
        laws=f"{HOME}.laws",
    )
    _bijections(reg)
    _flow(reg)
    _recipes(reg)
    reg.gather(f"{HOME}.rows")


def _bijections(reg: Registrar) -> None:
    home = f"{HOME}.bijections"
    four: dict[str, object] = {"channels": 4}
    rows: tuple[tuple[str, str, dict[str, object], str], ...] = (
        ("actnorm", "ActNorm", four, "a scale and a shift for every channel, started at statistics of data"),
        ("invertible-conv", "InvertibleConv", four, "a learned 1x1 convolution by its LU decomposition"),
        ("reorder", "Reorder", {**four, "order": "shuffle"}, "channels reversed, or shuffled once"),
        ("coupling", "Coupling", {**four, "width": 8}, "affine or additive coupling of half of the channels"),
        ("prior", "Prior", four, "a learned diagonal Gaussian that may know the class"),
        ("squeeze", "Squeeze", {}, "2x2 blocks of places as channels"),
    )
    for name, target, example, summary in rows:
        reg.add("bijection", name, f"{home}:{target}", summary=summary, example=example, paper="1807.03039")


def _flow(reg: Registrar) -> None:
    reg.add(
        "model",
        "glow",
        f"{HOME}.models:Glow",
        summary="multi-scale flow of actnorm, invertible 1x1 convolutions and couplings",
        example={"levels": 1, "steps": 2, "width": 8},
        paper="1807.03039",
        within="digits-glow",
        known_failures=_NO_TIME,
    )
    reg.add(
        "model",
        "linear-gaussian",
        f"{HOME}.models:LinearGaussian",
        summary="a fitted Gaussian of full covariance as a bijection, to compare with",
        known_failures={
            name: "it is fitted: the law trains its network first, and there is nothing to train"
            for name in (
                "check_time_and_state_matter",
                "check_every_parameter_learns",
                "check_layout",
            )
        },
    )
    reg.add(
        "objective",
        "exact-likelihood",
        f"{HOME}.objective:ExactLikelihood",
        summary="negative log density by the change of variables, in bits per dimension",
        paper="1807.03039",
        within="digits-glow",
    )
    reg.add(
        "codec",
        "dequantize",
        f"{HOME}.codec:Dequantize",
        summary="whole levels to real numbers by uniform noise",
        example={"levels": 17},
        paper="1511.01844",
        within="digits-glow",
        known_failures={"check_round_trip": "what is of no level goes to the nearest one"},
    )
    reg.add(
        "solver",
        "push",
        f"{HOME}.solver:Push",
        summary="one evaluation of a bijection, either way",
        within="digits-glow",
    )
    reg.add(
        "score",
        "bits-per-dim",
        f"{HOME}.score:BitsPerDim",
        summary="exact bits per dimension of held-out examples",
        paper="1807.03039",
        within="digits-glow",
    )


def _recipes(reg: Registrar) -> None:
    home = f"{HOME}:recipes"
    reg.recipe(
        "digits-glow",
        f"{home}/digits-glow.yaml",
        summary="Glow on real digits, half a minute on one core",
        paper="1807.03039",
    )
    reg.recipe(
        "digits-realnvp",
        f"{home}/digits-realnvp.yaml",
        summary="the same with channels reversed in place of 1x1 convolutions",
        paper="1605.08803",
    )
    reg.recipe(
        "digits-gaussian-fit",
        f"{home}/digits-gaussian-fit.yaml",
        summary="a Gaussian of full covariance on the same data, without training",
    )
    reg.recipe(
        "cifar10-glow",
        f"{home}/cifar10-glow.yaml",
        summary="Glow on CIFAR-10 at the paper's size",
        paper="1807.03039",
    )
