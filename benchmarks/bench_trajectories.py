"""Motion: a pedestrian training step beside hand-written PyTorch, best of 20 in one solve, latency of a plan.

    OMP_NUM_THREADS=1 python benchmarks/bench_trajectories.py

CPU seconds of one thread; what is compared is taken in turns, and medians are told.
"""

from __future__ import annotations

import statistics
import time

import torch

import flowloom as fl
from flowloom.data import Dataset, Examples
from flowloom.training.config import TrainConfig
from flowloom.training.loop import Trainer
from flowloom_trajectories.codec import AboutConstantVelocity
from flowloom_trajectories.data import Crowd, MazePlans
from flowloom_trajectories.models import TemporalUNet, TimeTransformer

BATCH, STEPS = 128, 12


def median(values):
    return statistics.median(values)


def timed(work):
    began = time.process_time()
    work()
    return time.process_time() - began


class Held(Dataset):
    """Rows in memory, so that the data cost both sides the same."""

    def __init__(self, data):
        self.rows, self._spec = data.all(), data.spec

    @property
    def spec(self):
        return self._spec

    def __len__(self):
        return len(self.rows)

    def take(self, rows):
        return self.rows.take(rows)


def training():
    data = Held(Crowd(2000, neighbours=8))
    codec = AboutConstantVelocity(data.spec)
    flow = fl.Flow(TimeTransformer(data.spec, width=64, depth=3), codec=codec)
    flow.fit_parts(data)
    trainer = Trainer(flow, fl.training.Rows(data), TrainConfig(steps=10**6, batch=BATCH, lr=1e-3, ema=0.999))
    ours = trainer._step

    net = TimeTransformer(data.spec, width=64, depth=3)
    average = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    weights = list(net.parameters())

    def by_hand():
        rows = data.take(torch.randint(len(data), (BATCH,)))
        told = {name: rows.cond[name] for name in ("past", "neighbours")}
        with torch.no_grad():
            x1 = codec.encode(Examples(rows.x, told)).x
        x0, t = torch.randn_like(x1), torch.rand(BATCH)
        wide = t[:, None, None]
        loss = (net((1 - wide) * x0 + wide * x1, t, **told) - (x1 - x0)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(average, weights, 1e-3)

    for work in (ours, by_hand):
        work()
    pairs = [(timed(ours), timed(by_hand)) for _ in range(STEPS)]
    own, hand = (median(column) for column in zip(*pairs, strict=True))
    print(
        f"training step of {BATCH} scenes, 8 neighbours: {own * 1e3:.1f} ms, by hand {hand * 1e3:.1f} ms, "
        f"ratio {median([a / b for a, b in pairs]):.3f}"
    )


def best_of(draws=20, scenes=100):
    data = Crowd(scenes, neighbours=8)
    flow = fl.Flow(TimeTransformer(data.spec, width=64, depth=3)).eval()
    rows = data.all()
    cond = {name: rows.cond[name] for name in ("past", "neighbours")}
    several = {name: value.repeat(draws, *(1,) * (value.ndim - 1)) for name, value in cond.items()}
    solver = fl.solvers.Euler(4)

    def at_once(batch):
        flow.solve(scenes * draws, cond=several, solver=solver, seed=0, batch=batch)

    def one_by_one():
        for i in range(draws):
            flow.solve(scenes, cond=cond, solver=solver, seed=i)

    works = {
        "all rows in one batch": lambda: at_once(scenes * draws),
        "250 rows a batch": lambda: at_once(250),
        f"{draws} solves": one_by_one,
    }
    spent = [[timed(work) for work in works.values()] for _ in range(3)]
    for name, seconds in zip(works, zip(*spent, strict=True), strict=True):
        print(f"best of {draws} for {scenes} scenes, 4 evaluations, {name}: {median(seconds):.2f} s")


def latency():
    data = MazePlans(16)
    flow = fl.Flow(TemporalUNet(data.spec, width=32, multipliers=(1, 2, 4))).eval()
    cond = data.take(torch.arange(1)).cond
    for nfe in (1, 4, 16):
        solver = fl.solvers.Euler(nfe)
        flow.solve(1, cond=cond, solver=solver, seed=0)
        spent = [timed(lambda s=solver: flow.solve(1, cond=cond, solver=s, seed=0)) for _ in range(7)]
        print(f"one plan of 32 steps, {nfe:2d} evaluations: {median(spent) * 1e3:.1f} ms")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    training()
    best_of()
    latency()
