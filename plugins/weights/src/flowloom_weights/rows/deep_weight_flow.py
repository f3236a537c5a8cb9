"""DeepWeightFlow: a zoo, its order, its flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_weights", "flowloom_weights:recipes"
    small = {"problem": {"use": "table"}, "hidden": [4], "norm": True, "n": 12, "steps": 20}
    reg.add(
        "dataset",
        "table",
        f"{home}.zoo:Table",
        summary="iris, wine, breast cancer or digits of scikit-learn, with their classes",
        example={},
    )
    reg.add(
        "dataset",
        "network-zoo",
        f"{home}.zoo:NetworkZoo",
        summary="small networks trained on one problem from as many starts",
        example=small,
    )
    reg.add(
        "codec",
        "weights",
        f"{home}.codec:WeightVectors",
        summary="networks as vectors: one order of hidden units, principal components",
        paper="2209.04836",
        data="network-zoo",
        example={},
        known_failures={"check_round_trip": "networks come back with their units in another order"},
    )
    reg.add(
        "model",
        "bottleneck",
        f"{home}.flow:Bottleneck",
        summary="three layers with a narrow one between, and normalised",
        example={"width": 8, "time": 4},
    )
    reg.add(
        "path",
        "noisy",
        f"{home}.flow:NoisyPath",
        summary="straight lines about which points scatter a little",
        paper="2302.00482",
        example={},
        known_failures={
            law: "points scatter about the line, at its ends as well"
            for law in ("check_ends", "check_conversions", "check_times_per_token")
        },
    )
    reg.add(
        "metric",
        "network-quality",
        f"{home}.quality:NetworkQuality",
        summary="accuracy of networks on held-out rows, of the worst, and how they disagree",
        data="network-zoo",
        example={},
    )
    reg.add(
        "metric",
        "weight-novelty",
        f"{home}.quality:WeightNovelty",
        summary="whether networks are copies of training networks, in any order of their units",
        data="network-zoo",
        example={},
        known_failures={"check_real_beats_noise": "copies are not better than what is far from everything"},
    )
    for name, summary in (
        ("average-network", "the mean of the training networks"),
        ("independent-weights", "independent weights with the moments of training networks"),
    ):
        words = "".join(word.title() for word in name.split("-"))
        reg.add(
            "baseline",
            name,
            f"{home}.baselines:{words}",
            summary=summary,
            data="network-zoo",
            example={},
        )
    reg.add(
        "task",
        "recalibrate",
        f"{home}.recalibrate:Recalibrate",
        summary="generated networks with statistics of batch normalisation of their own",
        within="deepweightflow-small",
        example={"rows": 64},
    )
    for name, summary in (
        ("deepweightflow", "networks that tell irises, as data: a hundred new ones in a second"),
        ("deepweightflow-raw", "the same without an order of hidden units"),
        ("deepweightflow-small", "networks with batch normalisation that tell irises, in seconds"),
        (
            "deepweightflow-digits",
            "networks with batch normalisation that tell digits, by their main axes",
        ),
        ("deepweightflow-mnist", "networks that tell MNIST, at the paper's size (needs flowloom-images)"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary)
