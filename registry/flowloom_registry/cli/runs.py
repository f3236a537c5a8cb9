"""``flowloom runs [FOLDER]``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from flowloom_registry.cli.columns import columns


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("runs"), help="where to look (default: runs)"
    )


def run(args: argparse.Namespace) -> int:
    """Print one line for each run: state, steps and the first metric of its table."""
    from flowloom.errors import FlowloomError, RunError
    from flowloom_registry.runs.folder import RunFolder, read_json

    if not args.folder.is_dir():
        raise FlowloomError(f"there is no folder {args.folder}; name one that holds runs")
    rows = []
    for path in sorted(_runs(args.folder)):
        run = RunFolder(path)
        name = str(path.relative_to(args.folder))
        try:
            status = run.status()
            told = read_json(run.evaluation) if run.evaluation.is_file() else {}
        except RunError as error:
            rows.append((name, "unreadable", "", str(error)))
            continue
        values = {**told.get("columns", {}).get("samples", {})}
        values = values or next(iter(told.get("scores", {}).values()), {})
        score = next((f"{k} {v:.4g}" for k, v in values.items() if v is not None), "")
        rows.append((name, status["state"], f"{status['step']} steps", score))
    print("\n".join(columns(rows)) if rows else f"no runs under {args.folder}")
    return 0


def _runs(folder: Path) -> Iterator[Path]:
    """Run folders at any depth; what lies inside one is its own."""
    if (folder / "status.json").is_file():
        yield folder
        return
    for inside in folder.iterdir():
        if inside.is_dir() and not inside.is_symlink() and not inside.name.startswith("."):
            yield from _runs(inside)
