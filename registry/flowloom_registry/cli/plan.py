"""``flowloom plan RECIPE``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from flowloom.digits import are_digits
from flowloom_registry.cli.given import count, examples, takes_overrides
from flowloom_registry.durations import duration

if TYPE_CHECKING:
    from flowloom.spec import Spec
    from flowloom_registry.runs.cost import Cost

DEVICES = {"A100": (312e12, 19.5e12), "H100": (989e12, 67e12), "RTX 4090": (165e12, 82.6e12)}
"""Operations a second by the makers' data sheets: bf16 in tensor cores, without sparsity, and float32."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("recipe", help="a recipe's name, or a YAML file")
    parser.add_argument(
        "--with", dest="layers", action="append", default=[], metavar="RECIPE", help="lay a recipe over it"
    )
    takes_overrides(parser, "any value of it")
    parser.add_argument(
        "--like",
        metavar="SHAPE",
        help="form of an example (4x32x32), where the data are not at hand",
    )
    parser.add_argument(
        "--classes",
        action="append",
        default=[],
        metavar="NAME=N",
        help="beside --like: a condition of N classes",
    )
    parser.add_argument(
        "--vocab", type=int, help="beside --like: number of tokens, where examples are tokens"
    )
    parser.add_argument(
        "--share",
        type=float,
        default=0.4,
        help="share of a device's operations that a training reaches, small networks less (default: 0.4)",
    )
    parser.add_argument("--measure", type=count, metavar="N", help="also time N steps on this machine")
    parser.add_argument("--device", help="where to time them: cpu, cuda ... (default: the best one present)")
    examples(
        parser,
        "flowloom plan digits",
        "flowloom plan imagenet-sit-xl-2 --like 4x32x32 --classes label=1000",
    )


def run(args: argparse.Namespace) -> int:
    """Print what a recipe costs, and train nothing."""
    from flowloom.errors import DataError, FlowloomError
    from flowloom_registry.config.recipe import load_recipe
    from flowloom_registry.errors import ConfigError
    from flowloom_registry.runs.cost import costs, seconds_a_step
    from flowloom_registry.runs.open import pick_device

    if not 0 < args.share <= 1:
        raise FlowloomError(f"--share lies in (0, 1], got {args.share:g}")
    device = pick_device(args.device)
    like = _form(args)
    recipe = load_recipe(args.recipe, layers=args.layers, overrides=args.overrides)
    try:
        for cost, assembly in costs(recipe, like):
            _tell(recipe.name, cost, args.share, assembly.train.precision)
            if args.measure and cost.steps:
                seconds = seconds_a_step(assembly, args.measure, device)
                print(f"               {duration(seconds * cost.steps)} on this {device.type}", end="")
                print(f", at {seconds:.3g} s a step")
    except (ConfigError, DataError) as error:
        of_data = not isinstance(error, ConfigError) or all(p.path.startswith("data") for p in error.problems)
        if like is not None or not of_data:
            raise
        hint = "where its data are not here, say what an example is: --like 4x32x32 --classes label=1000"
        raise DataError(f"{error}; {hint}") from error
    return 0


def _form(args: argparse.Namespace) -> Spec | None:
    """The spec that ``--like``, ``--classes`` and ``--vocab`` describe."""
    from flowloom.errors import FlowloomError
    from flowloom.spec import Condition, Spec
    from flowloom_registry.cli.given import named

    if args.like is None:
        if args.classes or args.vocab is not None:
            raise FlowloomError("--classes and --vocab describe examples beside --like SHAPE; say --like too")
        return None
    sizes = args.like.split("x")
    if not all(are_digits(size) and int(size) for size in sizes):
        raise FlowloomError(f"--like {args.like}: a shape is sizes with x between them, such as 4x32x32")
    conditions = {}
    for name, text in named("--classes", args.classes, ", such as label=1000").items():
        if not are_digits(text) or not int(text):
            raise FlowloomError(f"--classes {name}={text}: a number of classes is a whole number above 0")
        conditions[name] = Condition(int(text))
    if args.vocab is not None and args.vocab < 2:
        raise FlowloomError(f"--vocab must be at least 2, got {args.vocab}")
    return Spec(tuple(map(int, sizes)), vocab=args.vocab, conditions=conditions)


def _tell(name: str, cost: Cost, share: float, precision: str) -> None:
    memory = cost.memory
    print(name if cost.stage is None else f"{name}, stage {cost.stage}")
    print(f"  parameters   {cost.parameters:,}, of which {cost.trained:,} are trained")
    if cost.evaluation is not None:
        print(f"  sampling     {_operations(cost.evaluation)} an example and evaluation, guidance included")
    if not cost.steps:
        print("  training     none: what it fits is fitted without steps")
        return
    print(f"  a step       {_operations(cost.operations)} for {cost.batch} examples")
    parts = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimiser": memory.optimizers,
        "averages": memory.averages,
        "kept for the backward pass": memory.activations,
    }
    made_of = " + ".join(f"{name} {_bytes(size)}" for name, size in parts.items() if size)
    print(f"  memory       {_bytes(memory.total)} at least: {made_of}")
    print(
        f"  training     {_operations(cost.whole)} in {cost.steps:,} steps; at {share:.0%} of the data sheet:"
    )
    for device, (half, single) in DEVICES.items():
        hours = cost.hours(share * (single if precision == "float32" else half))
        print(f"               {duration(3600 * hours)} of one {device}")


def _operations(count: int) -> str:
    return f"{_short(count)}FLOP"


def _bytes(count: int) -> str:
    return f"{_short(count)}B"


def _short(count: float) -> str:
    prefixes = ["", "k", "M", "G", "T", "P", "E", "Z"]
    while count >= 999.5 and len(prefixes) > 1:
        count, prefixes = count / 1000, prefixes[1:]
    return f"{count:.3g} {prefixes[0]}"
