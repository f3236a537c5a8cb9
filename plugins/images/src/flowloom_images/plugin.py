"""The rows of the images plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add data sets, views, backbones, the unit box, metrics, the renderer and recipes for images."""
    _data(reg)
    _views(reg)
    _networks(reg)
    _metrics(reg)
    _recipes(reg)
    _layouts(reg)
    reg.add(
        "renderer",
        "image-grid",
        "flowloom_images.renderer:ImageGrid",
        summary="PNG grids of samples by class, and noise-to-data strips",
        example={"columns": 2, "rows": 2},
        data="digits",
    )


def _data(reg: Registrar) -> None:
    home = "flowloom_images.data"
    reg.add(
        "dataset",
        "digits",
        f"{home}:Digits",
        summary="1,797 real handwritten digits of 8 x 8 pixels (scikit-learn)",
    )
    reg.add(
        "dataset",
        "mnist",
        f"{home}:MNIST",
        summary="70,000 handwritten digits of 28 x 28 pixels",
        tags=("files",),
    )
    reg.add(
        "dataset",
        "fashion-mnist",
        f"{home}:FashionMNIST",
        summary="70,000 pictures of clothing of 28 x 28 pixels",
        paper="1708.07747",
        tags=("files",),
    )
    reg.add(
        "dataset",
        "cifar10",
        f"{home}:CIFAR10",
        summary="60,000 photographs of 32 x 32 pixels in ten classes",
        tags=("files",),
    )
    reg.add(
        "dataset",
        "image-folder",
        f"{home}:ImageFolder",
        summary="a folder of image files, subfolders as classes",
        example={"path": "images", "size": 8},
        tags=("files",),
    )


def _views(reg: Registrar) -> None:
    for name, target, summary, example in (
        ("flip", "Flip", "mirror images, in training only", {}),
        ("crop", "Crop", "shifts by a few pixels, in training only", {"padding": 2}),
        ("blur", "Blur", "a blurred and noisy image as a condition", {"width": 1.0}),
        ("hole", "Hole", "all but a rectangle is given, for in-painting", {}),
    ):
        reg.add(
            "view",
            name,
            f"flowloom_images.views:{target}",
            summary=summary,
            example=example,
            data="digits",
        )


def _networks(reg: Registrar) -> None:
    reg.add(
        "model",
        "unet",
        "flowloom_images.models:UNet",
        summary="U-Net of the ADM family: scale-shift residual blocks, attention, skips",
        example={"width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4]},
        paper="2105.05233",
        tags=("convolution",),
        data="digits",
    )
    reg.add(
        "model",
        "dit",
        "flowloom_images.models:DiT",
        summary="diffusion transformer with adaLN-Zero blocks, sizes S, B, L, XL",
        example={"width": 32, "depth": 2, "heads": 2},
        paper="2212.09748",
        tags=("transformer", "sit"),
        data="digits",
    )


def _metrics(reg: Registrar) -> None:
    home = "flowloom_images.metrics"
    quick = {"judge_steps": 10}
    reg.add(
        "metric",
        "image-quality",
        f"{home}:ImageQuality",
        summary="Fréchet distance, precision, recall and class accuracy by one small classifier",
        example=quick,
        data="digits",
    )
    reg.add(
        "metric",
        "classifier-frechet",
        f"{home}:ClassifierFrechet",
        summary="Fréchet distance in the features of a classifier trained on the real data",
        example=quick,
        paper="1706.08500",
        data="digits",
    )
    reg.add(
        "metric",
        "precision-recall",
        f"{home}:PrecisionRecall",
        summary="precision and recall by nearest-neighbour manifolds in those features",
        example=quick,
        paper="1904.06991",
        data="digits",
    )
    reg.add(
        "metric",
        "class-accuracy",
        f"{home}:ClassAccuracy",
        summary="share of conditional samples that a classifier takes for their class",
        example=quick,
        data="digits",
    )


def _recipes(reg: Registrar) -> None:
    home = "flowloom_images:recipes"
    reg.recipe(
        "digits", f"{home}/digits.yaml", summary="class-conditional flow on real digits, two minutes on CPU"
    )
    reg.recipe(
        "digits-small", f"{home}/digits-small.yaml", summary="the same in seconds, to see that all works"
    )
    reg.recipe("mnist-unet", f"{home}/mnist-unet.yaml", summary="U-Net on MNIST for one GPU")
    reg.recipe(
        "cifar10-unet",
        f"{home}/cifar10-unet.yaml",
        summary="Flow Matching on CIFAR-10 at the paper's size",
        paper="2210.02747",
    )
    reg.recipe(
        "imagenet64-adm",
        f"{home}/imagenet64-adm.yaml",
        summary="Flow Matching on ImageNet-64 with the ADM U-Net at the paper's size",
        paper="2210.02747",
    )
    reg.recipe(
        "imagenet-sit-xl-2",
        f"{home}/imagenet-sit-xl-2.yaml",
        summary="SiT-XL/2 on a folder of ImageNet images, at the paper's size",
        paper="2401.08740",
    )


def _layouts(reg: Registrar) -> None:
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
