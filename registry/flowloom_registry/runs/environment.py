"""What a run ran on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy
import torch

import flowloom
from flowloom.errors import RunError
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.runs.folder import read_json


def describe(
    device: torch.device, catalog: Catalog, *, command: str = "", parameters: int | None = None
) -> dict[str, Any]:
    """Versions, machine and device, for ``environment.json`` and the report.

    Args:
        device: where it runs.
        catalog: what is installed.
        command: that began it, empty where no command did.
        parameters: of the flow, those that are trained.
    """
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "commit": _commit(),
        "parameters": parameters,
        "flowloom": flowloom.__version__,
        "plugins": {p.name: p.version for p in catalog.plugins if p.version},
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
        "device": str(device),
        "device_name": _device_name(device),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def other_threads(file: Path, now: Mapping[str, Any]) -> str:
    """What a run begun with another number of threads is to be told; empty where nothing is known or changed.

    Sums over threads round otherwise, so the bits at the end are others.
    """
    try:
        before = read_json(file).get("threads")
    except RunError:
        return ""
    if before in (None, now["threads"]) or now["device"] != "cpu":
        return ""
    return (
        f"this run was begun with {before} threads and goes on with {now['threads']}: it will not end with "
        f"the bits it would have had; set OMP_NUM_THREADS={before} for those"
    )


def _commit() -> str:
    """The git commit of the working folder, with a ``+`` where files differ from it; empty outside of git."""
    try:
        head, changes = (
            subprocess.run(
                ["git", *words], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for words in (
                ["rev-parse", "--short=12", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{head}{'+' if changes else ''}"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
