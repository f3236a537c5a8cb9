"""The earth-science table of Chen and Lipman (2302.03660): test NLL in nats over five splits.

One recipe (`earth-<event>` of the geometries plugin) for all sets, nothing tuned per set, carried out as
`flowloom run` does: the weights that did best on the validation split are kept, as in the paper, and scored
on the test split. Seeds are of the split, the initial weights and training alike. Beside it the source of the
recipe by itself (what the flow adds is the difference), a mixture of kernels of fixed widths, and, as another
arm, the paper's network from the uniform law.

Many events repeat, so that a fair share of the test points lies on (or a kilometre beside) a training point,
and any model sharp enough to see that scores well. So every figure is given again for the test points farther
than 10 km from every training point.

Run: FLOWLOOM_DATA=... python benchmarks/earth_table.py volcano fire flood --seeds 0 1 2 3 4 --out runs/earth
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

from flowloom.solvers import Dopri5
from flowloom_geometries.data.earth import kilometres_to_nearest
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.runs.carry_out import carry_out
from flowloom_registry.runs.open import open_run
from flowloom_registry.runs.validation import read_best

PAPER = {
    "volcano": "-7.93 ± 1.67",
    "earthquake": "-0.28 ± 0.08",
    "flood": "0.42 ± 0.05",
    "fire": "-1.86 ± 0.11",
}

FAR_KM = 10.0
FIGURES = ("train", "val", "test", "test_far", "source", "source_far", "kernel", "kernel_far", "far_share")
ARMS = {
    "recipe": [],
    # The paper's network and source, half as wide, with some of the minutes that it takes for hours.
    "mlp": [
        "source=uniform",
        "coupling=independent",
        "model={use: mlp, width: 256, depth: 6}",
        "train.steps=2000",
        "train.batch=256",
        "train.lr=1.0e-3",
    ],
}


def kernel_log_prob(train, test, most=2000):
    """Log densities under a mixture of von Mises-Fisher kernels of 20 widths and the uniform law.

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
    return torch.logsumexp(table(test, train) + weight.clamp_min(1e-300).log(), 1)


def log_probs(flow, x):
    """Log densities of points, ``(n,)``, by an accurate solver."""
    with torch.no_grad(), flow.evaluating():
        return torch.cat([flow.log_prob(part, solver=Dopri5(1e-5, 1e-5)) for part in x.split(1024)])


def run(event, seed, arm, overrides, out):
    """Carry out one seed, and collect its figures."""
    wall, cpu = time.perf_counter(), time.process_time()
    settings = [f"seed={seed}", f"data.seed={seed}", "scores=null", *ARMS[arm], *overrides]
    folder, _ = carry_out(
        load_recipe(f"earth-{event}", overrides=settings), out / f"{arm}-{event}-{seed}", torch.device("cpu")
    )
    best = read_best(folder)
    row = {
        "event": event,
        "seed": seed,
        "arm": arm,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "step": best.step,
        "val": best.value,
    }
    assembly, _ = open_run(folder.path)
    flow, train, test = assembly.flow, assembly.data.all().x, assembly.data.split("test").all().x
    far = kilometres_to_nearest(test, train) > FAR_KM
    row["far_share"] = float(far.double().mean())
    spread = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: len(test)]
    row["train"] = -float(log_probs(flow, train[spread]).mean())
    columns = {
        "test": log_probs(flow, test),
        "source": flow.source.log_prob(test),
        "kernel": kernel_log_prob(train, test),
    }
    for name, values in columns.items():
        row[name], row[f"{name}_far"] = -float(values.mean()), -float(values[far].mean())
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("events", nargs="+", choices=list(PAPER))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--arm", choices=list(ARMS), default="recipe")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--out", type=Path, default=Path("runs/earth"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in options.seeds:  # the sets in turn, so that a run cut short has some of each
        for event in options.events:
            rows.append(run(event, seed, options.arm, options.overrides, options.out))
            print(json.dumps(rows[-1]), flush=True)
            with open(options.out / "rows.jsonl", "a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    for event in options.events:
        line = []
        for column in FIGURES:
            values = [r[column] for r in rows if r["event"] == event]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            line.append(f"{column} {statistics.mean(values):.2f} ± {spread:.2f}")
        print(f"{options.arm}, {event}: {', '.join(line)}; paper {PAPER[event]}", flush=True)


if __name__ == "__main__":
    main()
