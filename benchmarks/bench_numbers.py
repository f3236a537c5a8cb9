"""What each key of `train` about numbers and memory gains, beside the careful hand-written eager loop.

Every variant trains the same network on the same batches in one process, in turn with the hand-written loop
of `bench_step.py`; medians of ratios. Compiled networks compile while warming up.

Run: python benchmarks/bench_numbers.py [--network unet|dit] [--rounds 20] [--only NAME ...] [--memory]
"""

from __future__ import annotations

import argparse
import copy
import resource

import torch
from bench_step import hand_trainer
from interleave import in_turn

import flowloom as fl
from flowloom.training import TrainConfig

VARIANTS = {
    "default": {},
    "channels_last": {"channels_last": True},
    "compile": {"compile": True},
    "compile, channels_last": {"compile": True, "channels_last": True},
    "bf16": {"precision": "bf16"},
    "recompute": {"recompute": True},
    "no averages": {"ema": 0.0},
    "no clipping": {"clip": 0.0},
}


def network(name, spec):
    """The digits recipe's U-Net, or a DiT-S of fewer blocks than the paper's."""
    from flowloom_images.models import DiT, UNet

    if name == "unet":
        return UNet(spec, width=24, multipliers=(1, 2), blocks=1, attention=(4,), head_width=24)
    return DiT(spec, size="S", patch=2, depth=4)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("unet", "dit"), default="unet")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="cpu")
    parser.add_argument("--only", nargs="*")
    parser.add_argument(
        "--memory", action="store_true", help="one variant by itself: peak of resident memory"
    )
    args = parser.parse_args()
    from flowloom_images.data import Digits

    data = Digits()
    everything = data.all()
    torch.manual_seed(0)
    model = network(args.network, data.spec)
    sides = {}
    for name in args.only or VARIANTS:
        flow = fl.Flow(
            copy.deepcopy(model), spec=data.spec, objective=fl.objectives.FlowMatching(condition_dropout=0.1)
        )
        settings = {"steps": 10**6, "batch": args.batch, "ema": 0.999, "log_every": 1, **VARIANTS[name]}
        lines = flow.trainer(data, TrainConfig(**settings)).run()
        sides[name] = lambda lines=lines: next(lines)["loss"]
    if args.memory:
        for _ in range(3):
            for side in sides.values():
                side()
        print(f"{args.only}: peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
        return
    sides["by hand"] = hand_trainer(
        copy.deepcopy(model), everything.x, everything.cond["label"], args.batch, 1e-3, 0.1, 0.999
    )
    seconds = in_turn(sides, args.rounds, 3, args.clock)
    hand = seconds.pop("by hand")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.clock} clock, {args.network}")
    for name, values in seconds.items():
        ratios = sorted(a / b for a, b in zip(values, hand, strict=True))
        middle, low, high = (ratios[int(q * (len(ratios) - 1))] for q in (0.5, 0.1, 0.9))
        median = sorted(values)[len(values) // 2]
        print(f"{name:26} {1e3 * median:9.1f} ms   over by hand {middle:6.3f}  [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
