"""The earth-science table of Chen and Lipman (2302.03660): test NLL in nats over five splits.

One recipe (`earth-<event>` of the geometries plugin) for all sets, nothing tuned per set, carried out as
`flowloom run` does: the weights that did best on the validation split are kept, as in the paper, and scored
on the test split. The likelihood of the last weights is given beside it. Seeds are of the split, the initial
weights and training alike. Next to it a kernel density estimate on the same splits: many volcanoes erupted
more than once and many fires were seen twice, so that a fair share of the test points lies on (or a kilometre
beside) a training point, and any model sharp enough to see that scores well.

Run: FLOWLOOM_DATA=... python benchmarks/earth_table.py volcano fire --seeds 0 1 2 3 4 --out runs/earth
Every run leaves its folder, with a map of the learned density in its report.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path

import torch

from flowloom.training.checkpoint import checkpoints, load_into, read_tensors
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.runs.carry_out import carry_out, open_run
from flowloom_registry.runs.validation import read_best

PAPER = {
    "volcano": "-7.93 ± 1.67",
    "earthquake": "-0.28 ± 0.08",
    "flood": "0.42 ± 0.05",
    "fire": "-1.86 ± 0.11",
}


def kernel_nll(train, test, most=2000):
    """A mixture of von Mises-Fisher kernels of 20 widths and the uniform law.

    Widths are weighted by the likelihood of ``most`` training points under the others (of each point under
    the others, where there are fewer).
    """
    train, test = train.double(), test.double()
    widths = torch.logspace(-4, -0.3, 20, dtype=torch.float64)

    def table(x, centres, alone=False):
        squared = torch.cdist(x, centres).square()
        columns = []
        for width in widths:
            k = 1 / width**2
            log = -0.5 * k * squared + math.log(k / (2 * math.pi)) - math.log(-math.expm1(-2 * k))
            if alone:
                log.fill_diagonal_(-math.inf)
            columns.append(torch.logsumexp(log, 1) - math.log(len(centres) - alone))
        columns.append(torch.full((len(x),), -math.log(4 * math.pi), dtype=torch.float64))
        return torch.stack(columns, 1)

    small = len(train) <= 2 * most
    seen = table(train, train, alone=True) if small else table(train[:most], train[most:])
    weight = torch.full((seen.shape[1],), 1 / seen.shape[1], dtype=torch.float64)
    for _ in range(500):
        weight = torch.softmax(seen + weight.clamp_min(1e-300).log(), 1).mean(0)
    return -float(torch.logsumexp(table(test, train) + weight.clamp_min(1e-300).log(), 1).mean())


def run(event, seed, overrides, out):
    """Carry out one seed, and collect its figures."""
    wall, cpu = time.perf_counter(), time.process_time()
    recipe = load_recipe(f"earth-{event}", overrides=[f"seed={seed}", f"data.seed={seed}", *overrides])
    folder, result = carry_out(recipe, out / f"{event}-{seed}", torch.device("cpu"))
    row = {
        "event": event,
        "seed": seed,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "step": read_best(folder).step,
        "val": read_best(folder).value,
        "test": result.scores["held-out data"]["nll"],
        "train": result.scores["training data"]["nll"],
    }
    assembly, _ = open_run(folder.path)
    test = assembly.data.split("test").all()
    last = checkpoints(folder.checkpoints)[-1]
    load_into(
        assembly.flow.model,
        read_tensors(last / "flow.safetensors") | read_tensors(last / "ema.safetensors"),
        last,
    )
    (score,) = assembly.scores
    row["test_last"] = score(assembly.flow, test)["nll"]
    row["kernel"] = kernel_nll(assembly.data.all().x, test.x)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("events", nargs="+", choices=list(PAPER))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--out", type=Path, default=Path("runs/earth"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    for event in options.events:
        rows = []
        for seed in options.seeds:
            rows.append(run(event, seed, options.overrides, options.out))
            print(json.dumps(rows[-1]), flush=True)
            with open(options.out / "rows.jsonl", "a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
        line = []
        for column in ("test", "test_last", "kernel"):
            values = [r[column] for r in rows]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            line.append(f"{column} {statistics.mean(values):.2f} ± {spread:.2f}")
        print(f"{event}: {', '.join(line)}; paper {PAPER[event]}", flush=True)


if __name__ == "__main__":
    main()
