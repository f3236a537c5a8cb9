"""Methods that look inside the network: local contrast, and a memory bank."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_foundations.hidden", "flowloom_foundations:recipes"
    contrast, repulsor = "2509.20952", "2512.08648"
    reg.add(
        "objective",
        "local-contrast",
        f"{home}:LocalContrast",
        summary="flow matching, and contrast of features where there is next to no noise",
        example={"block": "inner.0"},
        paper=contrast,
    )
    reg.add(
        "objective",
        "memory-bank",
        f"{home}:MemoryBank",
        summary="flow matching whose features are pushed away from those of earlier batches",
        example={"block": "inner.0", "width": 32, "queue": 8},
        paper=repulsor,
    )
    reg.add(
        "score",
        "hidden-features",
        f"{home}:HiddenFeatures",
        summary="linear probes and the effective rank of a block's features",
        example={"block": "inner.0"},
        paper=contrast,
        data="overlapping-classes",
        known_failures={"check_truth_is_better": "it judges features, not samples"},
    )
    for name, summary, paper in (
        ("local-contrast", "flow matching on digits with contrast of features next to the data", contrast),
        ("local-contrast-cifar10", "local contrastive flow matching on CIFAR-10 at full size", contrast),
        ("repulsor", "flow matching on digits in small batches, with a memory bank of features", repulsor),
        ("repulsor-in-batch", "the same, dispersed within the batch alone", "2506.09027"),
        ("repulsor-imagenet", "SiT-XL/2 with a memory bank at the paper's size", repulsor),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
    for name, summary in (
        ("local-contrast-baseline", "the same network under flow matching at all noise levels"),
        ("repulsor-baseline", "the same transformer and batches under flow matching"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary)
