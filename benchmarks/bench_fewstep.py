"""What few-step methods cost over hand-written PyTorch: a MeanFlow step, and samples in one evaluation.

Run: python benchmarks/bench_fewstep.py [--rounds 20] [--device cpu] [--clock wall]
"""

from __future__ import annotations

import argparse
import copy

import torch
from bench_numbers import network
from bench_step import hand_loop
from interleave import interleave
from torch.func import functional_call

import flowloom as fl
from flowloom.spec import Condition
from flowloom.training import TrainConfig
from flowloom_fewstep.meanflow import MeanFlow


def networks(spec):
    """The networks of `bench_numbers.py`, told the span between two times."""
    told = spec.plus({"span": Condition(role="setting")})
    return {"U-Net": network("unet", told), "DiT": network("dit", told)}


def hand_trainer(model, x1, label, batch, distinct=0.25, power=1.0, dropout=0.1, decay=0.999):
    """MeanFlow (2505.13447, algorithm 1) as a careful user writes it, data at time 1."""

    def loss_of(data, y):
        noise = torch.randn_like(data)
        s, t = torch.rand(2, batch, device=data.device).sort(0).values
        t = torch.where(torch.rand(batch, device=data.device) < distinct, t, s)
        time = s[:, None, None, None]
        x, velocity = (1 - time) * noise + time * data, data - noise
        null = torch.rand(batch, device=data.device) < dropout
        weights = dict(model.named_parameters())

        def u(x, s, t):
            return functional_call(model, weights, (x, s), {"span": t - s, "label": y, "null": null})

        mean, slope = torch.func.jvp(
            u, (x, s, t), (velocity, torch.ones_like(s), torch.zeros_like(t)), strict=False
        )
        target = (velocity + (t - s)[:, None, None, None] * slope).detach()
        squared = (mean - target).square().flatten(1).sum(1)
        return (squared / (squared.detach() + 1e-3) ** power).mean()

    return hand_loop(model, x1, label, batch, 1e-3, decay, loss_of)


def train_ratio(name, model, data, args):
    """A step through the Trainer and by hand."""
    model = model.to(args.device)
    by_hand = copy.deepcopy(model)
    flow = fl.Flow(model, spec=data.spec, objective=MeanFlow(condition_dropout=0.1))
    config = TrainConfig(steps=10**6, batch=args.batch, lr=1e-3, ema=0.999, log_every=1)
    lines = flow.trainer(data, config, device=args.device).run()
    everything = data.all().to(args.device)
    hand = hand_trainer(by_hand, everything.x, everything.cond["label"], args.batch)
    title = f"MeanFlow step, {name}, batch {args.batch}"
    return interleave(title, lambda: next(lines), hand, args.rounds, clock=args.clock)


def sample_ratio(name, model, data, args):
    """One evaluation through the solver, and the bare call of the network."""
    model = model.to(args.device).eval()
    flow = fl.Flow(model, spec=data.spec, objective=MeanFlow())
    x0 = torch.randn(args.batch, *data.spec.shape, device=args.device)
    label = torch.arange(args.batch, device=args.device) % 10
    zero, one = torch.zeros(args.batch, device=args.device), torch.ones(args.batch, device=args.device)
    field, solver = flow.field(), fl.solvers.FlowMapSteps(1)

    @torch.no_grad()
    def ours():
        return solver.solve(field, x0, cond={"label": label}).x

    @torch.no_grad()
    def hand():
        return x0 + model(x0, zero, span=one, label=label)

    assert torch.allclose(ours(), hand(), atol=1e-5), "both must give the same samples"
    title = f"one evaluation, {name}, batch {args.batch}"
    return interleave(title, ours, hand, args.rounds, clock=args.clock)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    from flowloom_images.data import Digits

    data = Digits()
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else "CPU"
    print(f"torch {torch.__version__}, {name}, {torch.get_num_threads()} threads, {args.clock} clock")
    torch.manual_seed(0)
    for name, model in networks(data.spec).items():
        print(train_ratio(name, model, data, args), flush=True)
        print(sample_ratio(name, model, data, args), flush=True)


if __name__ == "__main__":
    main()
