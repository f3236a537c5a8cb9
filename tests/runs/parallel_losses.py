"""One process of a training: losses of some recipes' first steps, step by step, as JSON.

Run as ``python parallel_losses.py JOBS OUT``; where there are several, with RANK, WORLD_SIZE, MASTER_ADDR and
MASTER_PORT. JOBS is a JSON list of ``[recipe, overrides]``.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from flowloom.training.parallel import World, whole
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.runs.assembly import assemble


def losses(recipe: str, overrides: list[str]) -> dict[str, object]:
    assembly = assemble(load_recipe(recipe, overrides=overrides))
    assembly.fit_parts()
    trainer = assembly.flow.trainer(assembly.feed, assembly.train, seed=assembly.seed)
    lines = list(trainer.run())
    trainer.close()
    sizes = [float(whole(p).double().norm()) for p in trainer.ema.average] if trainer.ema else []
    return {
        "lines": [{k: v for k, v in line.items() if "per_second" not in k} for line in lines],
        "ema": sizes,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    found = [losses(*job) for job in json.loads(Path(sys.argv[1]).read_text())]
    if World.now().first:
        Path(sys.argv[2]).write_text(json.dumps(found))
    if dist.is_initialized():
        dist.destroy_process_group()
