"""What a run ran on."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy
import torch

import flowloom
from flowloom_registry.lookup import Catalog


def describe(device: torch.device, catalog: Catalog) -> dict[str, Any]:
    """Versions, machine and device, for ``environment.json`` and the report."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "flowloom": flowloom.__version__,
        "plugins": {p.name: p.version for p in catalog.plugins if p.version},
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
        "device": str(device),
        "device_name": name or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
