"""EBFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

HOME, PAPER = "flowloom_likelihood", "2305.15267"


def register(reg: Registrar) -> None:
    """Add layers, the model, its objectives, data of a random flow, and recipes."""
    four: dict[str, object] = {"channels": 4}
    for name, target, example, summary in (
        ("full-linear", "full_linear:FullLinear", four, "a full matrix of the channels, or of a vector"),
        ("full-conv", "full_conv:FullConv", {**four, "kernel": 3}, "a convolution as a matrix of the image"),
        ("smooth-leaky", "smooth_leaky:SmoothLeaky", {}, "the smooth leaky ReLU of every entry"),
    ):
        reg.add(
            "bijection",
            name,
            f"{HOME}.bijections.{target}",
            summary=summary,
            example=example,
            paper=PAPER,
        )
    reg.add(
        "model",
        "linear-flow",
        f"{HOME}.models:LinearFlow",
        summary="full matrices or convolutions with smooth leaky ReLUs between them",
        example={"layers": 2},
        paper=PAPER,
        within="random-flow-ebflow",
        known_failures={"check_time_and_state_matter": "a bijection has no time"},
    )
    for name, target, summary in (
        ("denoising-score-matching", "DenoisingScoreMatching", "a flow's energy by the score of noisy data"),
        ("sliced-score-matching", "SlicedScoreMatching", "a flow's energy by its score along one direction"),
        ("finite-difference-score-matching", "FiniteDifferenceScoreMatching", "the same by three energies"),
        ("sampled-likelihood", "SampledLikelihood", "a flow's energy by data and by its own samples"),
    ):
        reg.add(
            "objective",
            name,
            f"{HOME}.energy_matching:{target}",
            summary=summary,
            paper=PAPER,
            within="random-flow-ebflow",
        )
    reg.add(
        "dataset",
        "random-flow",
        f"{HOME}.data:RandomFlow",
        summary="draws of a flow with random weights, of unit covariance",
        example={"dim": 4, "n": 64},
        paper=PAPER,
    )
    for name, summary in (
        ("random-flow-ebflow", "an energy-based flow by score matching, on data of a random flow"),
        ("random-flow-ml", "the same flow by maximum likelihood"),
        ("mnist-ebflow", "an energy-based flow of full matrices on MNIST, as in the paper"),
        ("cifar10-ebflow", "the same on CIFAR-10, 18.9 million parameters"),
    ):
        reg.recipe(name, f"{HOME}:recipes/{name}.yaml", summary=summary, paper=PAPER)
