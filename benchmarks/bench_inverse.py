"""Inverse solvers against hand-written PyTorch, guided evaluations against the network calls they must make.

Run: python benchmarks/bench_inverse.py [--rounds 30] [--rows 300] [--only solvers|guidance]

The network is that of the recipe ``restore-digits`` (one perceptron, 497 k parameters, states of 1 x 8 x 8),
untrained: clocks do not ask what it has learned. Every pair of solvers is checked to give the same numbers
before it is timed. The clock is the CPU time of this process on one thread.
"""

from __future__ import annotations

import argparse
import math
from contextlib import ExitStack
from functools import partial
from itertools import pairwise

import torch
from interleave import in_turn, interleave, medians
from torch import nn
from torch.nn.functional import avg_pool2d

import flowloom as fl
from flowloom.data import Tensors
from flowloom.guidance import ClassifierFree, Unguided
from flowloom.spec import Condition, Spec
from flowloom.trained import Trained
from flowloom_guidance.auto import AutoGuidance
from flowloom_guidance.by_energy import ByEnergy
from flowloom_guidance.composed import Composed, Term
from flowloom_guidance.raag import RAAG
from flowloom_guidance.rescaled import Rescaled
from flowloom_guidance.tilted import Linear
from flowloom_images.models import UNet
from flowloom_inverse.inversion import Invert
from flowloom_inverse.operators import AveragePool
from flowloom_inverse.problem import Problem
from flowloom_inverse.restorers import FLAIR, FlowDPS

SIZE = 8
NOISE = 0.3


def perceptron(predict="velocity"):
    """The flow of the recipe."""
    torch.manual_seed(0)
    spec = Spec((1, SIZE, SIZE), conditions={"label": Condition(10)})
    model = fl.models.MLP(spec, width=256, depth=3)
    return fl.Flow(model, objective=fl.objectives.FlowMatching(condition_dropout=0.5, predict=predict))


def same(name, ours, theirs, most=2e-4):
    """Refuse to time two that differ."""
    off = float((ours - theirs).abs().max() / theirs.abs().max())
    if not off < most:
        raise SystemExit(f"{name}: the two differ by {off:.2g}")


def back(y):
    """A^+ of the mean of two by two."""
    return y.repeat_interleave(2, -1).repeat_interleave(2, -2)


def bench_flowdps(rounds, rows, consistency, steps=28, moves=3, rate=0.3):
    """Whole solves, of which the steps are nearly all."""
    flow, pool = perceptron(), AveragePool(2)
    draws = torch.Generator().manual_seed(0)
    y = torch.randn(rows, 1, SIZE // 2, SIZE // 2, generator=draws)
    start = torch.randn(rows, 1, SIZE, SIZE, generator=draws)
    problem = Problem(flow, pool, y, {}, NOISE)
    solver = FlowDPS(steps, consistency=consistency, moves=moves, rate=rate).of(problem)
    model, told = flow.model, flow.conditions(rows, {})

    def ours():
        return flow.solve(x0=start, solver=solver, seed=1).x

    @torch.no_grad()
    def hand():
        noise, x = torch.Generator().manual_seed(1), start
        times = [i / steps for i in range(steps + 1)]
        for t, after in pairwise(times):
            v = model(x, torch.full((rows,), t), **told)
            data, source = torch.add(x, v, alpha=1 - t), torch.sub(x, v, alpha=t)
            fitted = data
            if consistency == "exact":
                fitted = data + back(y - avg_pool2d(data, 2))
            else:
                for _ in range(moves):
                    way = back(y - avg_pool2d(fitted, 2))
                    size = way.flatten(1).norm(dim=1).clamp_min(1e-8)[:, None, None, None]
                    fitted = fitted + rate * way / size
            data = torch.lerp(data, fitted, 1 - t)
            fresh = torch.randn(x.shape, generator=noise)
            source = math.sqrt(1 - after) * source + math.sqrt(after) * fresh
            x = torch.add((1 - after) * source, data, alpha=after)
        return x

    name = f"FlowDPS, {steps} steps, {consistency}, {rows} rows"
    same(name, ours(), hand(), 1e-3)  # what is predicted at t = 0 is read off t = 1e-4
    print(interleave(name, ours, hand, rounds, clock="cpu"), flush=True)


def bench_flair(rounds, rows, levels=50, moves=20, rate=0.25):
    """As the recipe has it, but for a constant weight: it is measured once, before the first level."""
    flow, pool = perceptron(), AveragePool(2)
    draws = torch.Generator().manual_seed(0)
    y = torch.randn(rows, 1, SIZE // 2, SIZE // 2, generator=draws)
    start = torch.randn(rows, 1, SIZE, SIZE, generator=draws)
    solver = FLAIR(levels, calibrate=False, rate=rate, moves=moves).of(Problem(flow, pool, y, {}, NOISE))
    model, told = flow.model, flow.conditions(rows, {})

    def ours():
        return flow.solve(x0=start, solver=solver, seed=1).x

    @torch.no_grad()
    def hand():
        draws, noise, mode = torch.Generator().manual_seed(1), start, back(y)
        for i in range(levels):
            t = (i + 0.5) / levels
            if i:
                fresh = torch.randn(noise.shape, generator=draws)
                noise = math.sqrt(t) * noise + math.sqrt(1 - t) * fresh
            x = torch.add((1 - t) * noise, mode, alpha=t)
            v = model(x, torch.full((rows,), t), **told)
            data, noise = torch.add(x, v, alpha=1 - t), torch.sub(x, v, alpha=t)
            mode = mode - rate / (1 - t) * (mode - data)
            for _ in range(moves):
                off = y - avg_pool2d(mode, 2)
                left = off.square().flatten(1).mean(1) > NOISE**2
                if not left.any():
                    break
                mode = mode + 0.25 * back(off) * left[:, None, None, None]
        return mode

    name = f"FLAIR, {levels} levels, {rows} rows"
    same(name, ours(), hand(), 1e-3)
    print(interleave(name, ours, hand, rounds, clock="cpu"), flush=True)


def bench_flowopt(rounds, rows, steps=10, iterations=8, rate=0.3):
    """A whole inversion: the predictor-corrector back, the iterations, and the answer."""
    flow = perceptron()
    draws = torch.Generator().manual_seed(0)
    x1 = torch.randn(rows, 1, SIZE, SIZE, generator=draws)
    data = Tensors(x1, {"label": torch.arange(rows) % 10}, spec=flow.spec)
    task = Invert(steps, iterations, rate)
    asked, _ = task.pose(data, rows, torch.Generator().manual_seed(0))
    model, cond = flow.model, {"label": asked.cond["label"]}
    told, target = flow.conditions(rows, cond), asked.cond["target"]

    def ours():
        return task(flow, asked).x

    @torch.no_grad()
    def hand():
        def forwards(x):
            for i in range(steps):
                x = torch.add(x, model(x, torch.full((rows,), i / steps), **told), alpha=1 / steps)
            return x

        z, slope = target, model(target, torch.ones(rows), **told)
        for i in reversed(range(steps)):
            guess = torch.sub(z, slope, alpha=1 / steps)
            slope = model(guess, torch.full((rows,), i / steps), **told)
            z = torch.sub(z, slope, alpha=1 / steps)
        for _ in range(iterations):
            z = torch.sub(z, forwards(z) - target, alpha=rate)
        return forwards(z)

    name = f"FlowOpt, {iterations} iterations of {steps}, {rows} rows"
    same(name, ours(), hand())
    print(interleave(name, ours, hand, rounds, clock="cpu"), flush=True)


def unet(predict):
    """The network of the demo, on the same states."""
    torch.manual_seed(0)
    spec = Spec((1, SIZE, SIZE), conditions={"label": Condition(10)})
    model = UNet(spec, width=24, multipliers=(1, 2), blocks=1, attention=(4,), head_width=24)
    return fl.Flow(model, objective=fl.objectives.FlowMatching(condition_dropout=0.5, predict=predict))


class Nothing(nn.Module):
    """Stands where a network does and costs nothing, so that what a rule adds can be seen."""

    conditional = True

    def __init__(self, spec):
        super().__init__()
        self.spec, self.scale = spec, nn.Parameter(torch.tensor(0.7))

    def forward(self, x, t, /, **cond):
        return self.scale * x


def bench_guidance(rounds, rows, predict):
    """What an evaluation of a guided field costs over the network calls, and energies, that it must make.

    Three in a hundred of a network's clock is less than its noise on a busy machine. So what a rule adds is
    timed around a network that does nothing, beside its bare calls, and the networks by themselves.
    """
    real = {"perceptron": perceptron(predict), "U-Net": unet(predict)}
    objective = fl.objectives.FlowMatching(condition_dropout=0.5, predict=predict)
    flow, weak = (fl.Flow(Nothing(real["U-Net"].spec), objective=objective) for _ in range(2))
    field, draws = flow.field(Unguided()), torch.Generator().manual_seed(0)
    x, t = torch.randn(rows, 1, SIZE, SIZE, generator=draws), torch.full((rows,), 0.4)
    cond = {"label": torch.arange(rows) % 10, "null": torch.zeros(rows, dtype=torch.bool)}
    tilt = Linear(0.1, flow.spec)

    def plain(times, model):
        told = {name: torch.cat([value] * times) for name, value in cond.items()}
        return partial(model, torch.cat([x] * times), torch.cat([t] * times), **told)

    def twice(model):
        call = plain(1, model)
        return lambda: (call(), call())

    def steered(through, model):
        # An energy is asked for its gradient as well, through the network or not.
        @torch.enable_grad()
        def call():
            point = x.detach().requires_grad_(True)
            value = model(point if through else x, t, **cond)
            (slope,) = torch.autograd.grad(tilt(value if through else point, cond).sum(), point)
            return slope

        return call

    terms = [Term({"label": 0}), Term({"label": 1}), Term({"label": 2}, -1.0)]
    product = [Term({"label": 0}), Term({"label": 1}), Term({"label": 2}, -0.5)]
    rules = {
        "classifier-free": (ClassifierFree(2.0), partial(plain, 2)),
        "raag": (RAAG(7.0), partial(plain, 2)),
        "rescaled": (Rescaled(3.0), partial(plain, 2)),
        "rescaled, of data": (Rescaled(3.0, of="data"), partial(plain, 2)),
        "auto": (AutoGuidance(Trained(weak), 2.0), twice),
        "composed, three of sum 1": (Composed(terms), partial(plain, 3)),
        "composed, three as scores": (Composed(product), partial(plain, 3)),
        "by-energy, through the network": (ByEnergy(tilt), partial(steered, True)),
        "by-energy, velocity held still": (ByEnergy(tilt, through=False), partial(steered, False)),
    }
    for name, (rule, calls) in rules.items():
        guided = rule(field)
        with torch.no_grad(), ExitStack() as held:
            for one in (flow, *real.values()):
                held.enter_context(one.evaluating())
            functions = {"guided": partial(guided, x, t, cond), "calls": calls(flow.model)}
            took = medians(in_turn(functions, 10 * rounds, clock="cpu"))
            took |= medians(in_turn({n: calls(one.model) for n, one in real.items()}, rounds, clock="cpu"))
        added = took["guided"] - took["calls"]
        shares = "   ".join(f"{n} {took[n]:7.2f} ms, guided/{n} {1 + added / took[n]:.3f}" for n in real)
        print(f"{name:32} {predict:9} added {1e3 * added:6.0f} us   {shares}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--only", choices=["solvers", "guidance"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.only != "guidance":
        for consistency in ("exact", "gradient"):
            bench_flowdps(given.rounds, given.rows, consistency)
        bench_flair(given.rounds, given.rows)
        bench_flowopt(max(given.rounds // 3, 3), given.rows)
    if given.only != "solvers":
        for predict in ("velocity", "data"):
            bench_guidance(given.rounds, given.rows, predict)


if __name__ == "__main__":
    main()
