"""Layouts, and LayoutFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_images.layouts", "flowloom_images:recipes", "2403.18187"
    reg.add(
        "dataset",
        "pages",
        f"{home}:Pages",
        summary="layouts of synthetic two-column pages, 4 to 12 typed boxes",
        example={"n": 100},
    )
    reg.add(
        "dataset",
        "publaynet",
        f"{home}:PubLayNet",
        summary="layouts of 360,000 pages of scientific articles, five types",
        paper="1908.07836",
        tags=("files",),
    )
    reg.add(
        "dataset",
        "rico",
        f"{home}:RICO",
        summary="layouts of screens of Android applications, 25 types",
        tags=("files",),
    )
    reg.add(
        "codec",
        "layout",
        f"{home}:LayoutCodec",
        summary="boxes to [-1, 1], types to analog bits",
        paper="2208.04202",
        data="pages",
    )
    reg.add(
        "model",
        "layout-transformer",
        f"{home}:LayoutTransformer",
        summary="transformer over elements without order, told which attributes are given",
        example={"width": 16, "depth": 1, "heads": 2, "hidden": 16, "embed": 8},
        paper=paper,
        within="layoutflow",
    )
    reg.add(
        "objective",
        "layout-flow",
        f"{home}:LayoutFlow",
        summary="flow matching with a task for every row: all, complete, types, types and sizes",
        paper=paper,
        within="layoutflow",
    )
    reg.add(
        "task",
        "arrange-layout",
        f"{home}:ArrangeLayout",
        summary="complete, place, size or refine layouts",
        example={"solver": {"use": "euler", "steps": 4}},
        paper=paper,
        within="layoutflow",
    )
    reg.add(
        "metric",
        "layout-quality",
        f"{home}:LayoutQuality",
        summary="overlap, alignment and a Fréchet distance of layouts",
        data="pages",
    )
    reg.recipe(
        "layoutflow", f"{recipes}/layoutflow.yaml", summary="LayoutFlow on synthetic pages", paper=paper
    )
    reg.recipe("layout-ddpm", f"{recipes}/layout-ddpm.yaml", summary="the diffusion it is compared with")
    reg.recipe(
        "layoutflow-publaynet",
        f"{recipes}/layoutflow-publaynet.yaml",
        summary="LayoutFlow on PubLayNet at the paper's size",
        paper=paper,
    )
    reg.recipe(
        "layoutflow-rico",
        f"{recipes}/layoutflow-rico.yaml",
        summary="LayoutFlow on RICO at the paper's size",
        paper=paper,
    )
