"""FlowFM: representations of series."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_trajectories.representation", "flowloom_trajectories:recipes"
    paper = "2512.19729"
    reg.add(
        "dataset",
        "activities",
        f"{home}:Activities",
        summary="accelerometer windows of six activities, which only judges are told",
        example={"n": 48, "length": 16, "held": 48},
    )
    reg.add(
        "dataset",
        "wearables",
        f"{home}:Wearables",
        summary="accelerometer windows in files of subject, activity, time, x, y, z, split by subject",
        example={"files": ["recordings.txt"]},
        tags=("files",),
    )
    reg.add(
        "view",
        "itself",
        f"{home}:Itself",
        summary="every example is told itself, for networks with a bottleneck",
        data="activities",
    )
    reg.add(
        "model",
        "represented",
        f"{home}:Represented",
        summary="a U-Net along time that is told what an encoder makes of the clean example",
        example={"dim": 4, "widths": [8, 8], "width": 8, "multipliers": [1, 2]},
        within="flowfm",
        paper=paper,
        tags=("convolution",),
    )
    reg.add(
        "model",
        "encoded-classifier",
        f"{home}:EncodedClassifier",
        summary="a linear head on an encoder of windows, pretrained or new",
        example={"dim": 4, "widths": [8, 8]},
        within="flowfm-from-scratch",
        paper=paper,
        tags=("convolution",),
        known_failures={"check_time_and_state_matter": "windows are clean, whatever the time"},
    )
    reg.add(
        "objective",
        "from-conditions",
        f"{home}:FromConditions",
        summary="regression of states on their conditions, an autoencoder with view itself",
        within="flowfm-autoencoder",
    )
    reg.add(
        "metric",
        "spectra",
        f"{home}:Spectra",
        summary="distance of mean amplitude spectra, class by class",
        data="activities",
    )
    reg.add(
        "score",
        "linear-probe",
        f"{home}:LinearProbe",
        summary="macro F1 of a linear classifier of representations that is given a few labels",
        example={"draws": 2},
        within="flowfm",
        known_failures={"check_truth_is_better": "it judges representations, not samples"},
    )
    reg.add(
        "score",
        "macro-f1",
        f"{home}:MacroF1",
        summary="macro F1 of a classifier",
        within="flowfm-from-scratch",
        known_failures={"check_truth_is_better": "it judges classes, not samples"},
    )
    for name, summary in (
        ("flowfm", "representations of accelerometer windows by a flow, probed with 60 labels"),
        ("flowfm-few-labels", "a recogniser from 60 labels, pretrained by a flow"),
        ("flowfm-full", "the same on recordings of one's own, at full size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
    for name, summary in (
        ("flowfm-autoencoder", "the same encoder in an autoencoder"),
        ("flowfm-diffusion", "the same networks in a diffusion that predicts noise"),
        ("flowfm-pca", "as many principal components"),
        ("flowfm-from-scratch", "the recogniser from 60 labels alone"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary)
