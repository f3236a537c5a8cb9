"""What flowloom costs over hand-written PyTorch: a training step, Euler sampling, and `flowloom list`.

Run: python benchmarks/bench_step.py [--rounds 40] [--device cpu]
"""

from __future__ import annotations

import argparse
import copy
import os
import resource
import statistics
import subprocess
import sys

import torch
from interleave import interleave

import flowloom as fl
from flowloom.training import TrainConfig


def hand_loop(model, x1, label, batch, lr, decay, loss_of):
    """The loop a careful user writes: fused optimiser, clipping, averaging; ``loss_of(rows, labels)``."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=True, weight_decay=0.0)
    parameters = list(model.parameters())
    average = [p.detach().clone() for p in parameters]
    state = {"order": torch.randperm(len(x1)), "at": 0}

    def step():
        if state["at"] + batch > len(x1):
            state.update(order=torch.randperm(len(x1)), at=0)
        rows = state["order"][state["at"] : state["at"] + batch]
        state["at"] += batch
        loss = loss_of(x1[rows], label[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - decay)
        return float(loss.detach())

    return step


def hand_trainer(model, x1, label, batch, lr, dropout, decay):
    """Flow matching by hand: same network, loss, optimiser, clipping, averaging."""

    def loss_of(data, y):
        noise = torch.randn_like(data)
        t = torch.rand(batch, device=data.device)
        time = t[:, None, None, None]
        x_t = (1 - time) * noise + time * data
        null = torch.rand(batch, device=data.device) < dropout
        return (model(x_t, t, label=y, null=null) - (data - noise)).square().mean()

    return hand_loop(model, x1, label, batch, lr, decay, loss_of)


def train_ratio(data, unet, device, batch, rounds, clock):
    """One training step of the digits U-Net through the Trainer and by hand."""
    torch.manual_seed(0)
    ours_model = unet(data.spec).to(device)
    hand_model = copy.deepcopy(ours_model)
    flow = fl.Flow(ours_model, spec=data.spec, objective=fl.objectives.FlowMatching(condition_dropout=0.1))
    config = TrainConfig(steps=10**6, batch=batch, lr=1e-3, ema=0.999, log_every=1)
    trainer = flow.trainer(data, config, device=device)
    lines = trainer.run()
    everything = data.all().to(device)
    hand = hand_trainer(hand_model, everything.x, everything.cond["label"], batch, 1e-3, 0.1, 0.999)
    name = f"training step, U-Net, batch {batch}"
    return interleave(name, lambda: next(lines), hand, rounds, clock=clock)


def sample_ratio(data, unet, device, batch, steps, rounds, clock):
    """Euler sampling through the solver and by hand."""
    torch.manual_seed(0)
    model = unet(data.spec).to(device).eval()
    flow = fl.Flow(model, spec=data.spec)
    x0 = torch.randn(batch, *data.spec.shape, device=device)
    label = torch.arange(batch, device=device) % 10
    field, solver = flow.field(), fl.solvers.Euler(steps)

    @torch.no_grad()
    def ours():
        return solver.solve(field, x0, cond={"label": label}).x

    @torch.no_grad()
    def hand():
        x, h = x0, 1.0 / steps
        for i in range(steps):
            x = x + h * model(x, torch.full((batch,), i * h, device=device), label=label)
        return x

    assert torch.allclose(ours(), hand(), atol=1e-4), "both must give the same samples"
    return interleave(f"Euler sampling, {steps} steps, batch {batch}", ours, hand, rounds, clock=clock)


def list_seconds(runs=7):
    """CPU seconds of `flowloom list` with every installed plugin: median of several processes."""
    seconds = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "flowloom_registry", "list"],
            stdout=subprocess.DEVNULL,
            check=True,
            env=os.environ,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    from flowloom_images.data import Digits
    from flowloom_images.models import UNet

    def unet(spec):
        return UNet(spec, width=24, multipliers=(1, 2), blocks=1, attention=(4,), head_width=24)

    data = Digits()
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else "CPU"
    print(
        f"torch {torch.__version__}, {name}, {torch.get_num_threads()} threads, "
        f"{args.rounds} rounds, {args.clock} clock"
    )
    print(train_ratio(data, unet, args.device, 128, args.rounds, args.clock))
    print(sample_ratio(data, unet, args.device, 64, 10, args.rounds, args.clock))
    print(f"{'flowloom list':44} {list_seconds():.3f} s of CPU time")


if __name__ == "__main__":
    main()
