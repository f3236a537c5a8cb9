"""What a run ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy
import torch

import flowloom
from flowloom_registry.plugins.catalog import Catalog


def describe(device: torch.device, catalog: Catalog) -> dict[str, Any]:
    """Versions, machine and device, for ``environment.json`` and the report."""
    return {
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


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
