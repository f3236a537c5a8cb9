"""The README's picture, from the files of a finished run: ``make picture`` after ``make demo``.

python docs/picture.py runs/digits docs/digits.png
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from flowloom import renderers
from flowloom_registry.runs.folder import RunFolder
from flowloom_registry.runs.found import find

INK, SOFT = "#1c2126", "#5b6570"
COLOURS = ("#1f6fb4", "#c2540a", "#0b7a53")


def main(run: Path, out: Path) -> None:
    """Draw it.

    Args:
        run: a folder whose report shows tiles.
        out: the PNG to write.
    """
    found = find(RunFolder(run))
    pictures, evaluation = found.pictures, found.evaluation
    frames = [pictures.frames[i * (len(pictures.frames) - 1) // 9] for i in range(10)]
    rows = [
        ("generated", pictures.samples[:10], None),
        ("real", pictures.real[:10], None),
        ("the way", [shown[2] for _, shown in frames], [f"t = {time:.1f}" for time, _ in frames]),
    ]
    with mpl.rc_context({"font.size": 9, "text.color": INK, "axes.edgecolor": SOFT}):
        canvas = Figure(figsize=(10.4, 3.1), layout="constrained", facecolor="white")
        left, right = canvas.subfigures(1, 2, width_ratios=[2.5, 1])
        grid = left.subplots(len(rows), 10)
        for line, (name, shown, marks) in zip(grid, rows, strict=True):
            for i, (axes, picture) in enumerate(zip(line, shown, strict=True)):
                axes.imshow(opened(picture), cmap="gray", interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if marks:
                    axes.set_xlabel(marks[i], color=SOFT, fontsize=7, labelpad=2)
            line[0].set_ylabel(name, color=INK)
        metric = next(iter(evaluation["columns"]["samples"]))
        axes = right.subplots()
        for colour, solver in zip(
            COLOURS, dict.fromkeys(p["solver"] for p in evaluation["sweep"]), strict=False
        ):
            points = [(p["nfe"], p["values"][metric]) for p in evaluation["sweep"] if p["solver"] == solver]
            axes.plot(*zip(*points, strict=True), "o-", color=colour, ms=3, lw=1.3, label=solver)
        own = evaluation["columns"]["samples"][metric]
        axes.plot(
            evaluation["nfe"], own, "o", mfc="none", color="#8a4fb0", ms=9, mew=1.8, label="this recipe"
        )
        for style, column in (("--", "training data"), (":", "Gaussian")):
            axes.axhline(evaluation["columns"][column][metric], ls=style, lw=1, color=SOFT, label=column)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        ticks = sorted({p["nfe"] for p in evaluation["sweep"]} | {evaluation["nfe"]})
        axes.set_xticks(ticks, [str(n) for n in ticks])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.set(
            xlabel="network evaluations a sample", title="Fréchet distance" if metric == "frechet" else metric
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=7)
        canvas.savefig(out, dpi=120)


def opened(picture: renderers.Figure) -> Image.Image:
    """A tile as an image."""
    return Image.open(io.BytesIO(picture.data)).convert("L")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
