"""What a coupling costs a training step: made in the step, in a thread beside it, in a process beside it.

Exact optimal transport at batch 2048, which is where assignment leaves the milliseconds.

    python benchmarks/bench_feed.py
"""

from __future__ import annotations

import time

import torch

from flowloom import Flow
from flowloom.couplings import Coupling, Independent, OptimalTransport
from flowloom.data import Tensors
from flowloom.models import MLP
from flowloom.training import Feed, Rows, TrainConfig
from flowloom_warehouse.beside import Beside

BATCH, STEPS, WARM = 2048, 12, 4


def seconds_a_step(feed: Feed, coupling: Coupling, prefetch: str) -> tuple[float, float]:
    """Of the clock, and of the processor in this process: what a busy machine does not change."""
    torch.manual_seed(0)
    flow = Flow(MLP(feed.spec, width=1024, depth=4), spec=feed.spec, coupling=coupling)
    trainer = flow.trainer(feed, TrainConfig(steps=STEPS, batch=BATCH, prefetch=prefetch, log_every=1))
    times = []
    for _ in trainer.run():
        times.append((time.perf_counter(), time.process_time()))
    trainer.close()
    clock, processor = ((times[-1][i] - times[WARM - 1][i]) / (len(times) - WARM) for i in (0, 1))
    return clock, processor


def main() -> None:
    torch.set_num_threads(1)
    draws = torch.Generator().manual_seed(0)
    data = Tensors(torch.randn(50_000, 64, generator=draws))
    ot = OptimalTransport(Flow(MLP(data.spec, width=4), spec=data.spec).geometry)
    cases = (
        ("independent, no coupling to hide", Rows(data), Independent(), "off"),
        ("optimal transport in the step", Rows(data), ot, "off"),
        ("optimal transport in a thread", Rows(data), ot, "on"),
        ("optimal transport in a process", Beside(data, workers=1, ahead=3), ot, "off"),
    )
    print(f"batch {BATCH}, 64 dimensions, a network of 4 x 1024, one thread each")
    floor = 0.0
    for name, feed, coupling, prefetch in cases:
        clock, processor = seconds_a_step(feed, coupling, prefetch)
        floor = floor or processor
        told = f"{1000 * clock:6.0f} ms a step, of the training process {1000 * processor:6.0f} ms"
        print(f"{name:36s} {told} (x {processor / floor:.2f})", flush=True)


if __name__ == "__main__":
    main()
