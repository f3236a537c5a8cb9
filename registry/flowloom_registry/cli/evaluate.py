"""``flowloom eval RUN``."""

from __future__ import annotations

import argparse
from pathlib import Path

from flowloom_registry.cli.given import count, examples, takes_overrides


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a trained run")
    parser.add_argument(
        "-n",
        type=count,
        help="examples a column (default: the recipe's); the results are kept in RUN/evaluations/n-N, beside "
        "the run's own",
    )
    parser.add_argument(
        "--with",
        dest="layers",
        action="append",
        default=[],
        metavar="RECIPE",
        help="ask differently: lay a recipe, or a part of one, over the run's; takes --out",
    )
    takes_overrides(
        parser, "ask differently: another solver, guidance, metrics, tasks, evaluation; takes --out"
    )
    parser.add_argument(
        "--out", metavar="NAME", help="keep the results in RUN/evaluations/NAME, beside the others"
    )
    parser.add_argument(
        "--trust", action="store_true", help="run code that the recipe names by file or module"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the best one present)")
    examples(
        parser,
        "flowloom eval runs/digits",
        "flowloom eval runs/digits --set solver.steps=4 --out four-steps",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate again, and write table and report anew, or beside the old ones."""
    from flowloom.errors import FlowloomError
    from flowloom_registry.runs.carry_out import judge_and_report
    from flowloom_registry.runs.open import open_run, pick_device
    from flowloom_registry.runs.rehearse import rehearse
    from flowloom_registry.runs.remembered import Remembered
    from flowloom_registry.runs.same_data import require_same_data
    from flowloom_registry.runs.table import print_table

    if (args.overrides or args.layers) and args.out is None:
        word = "--with" if args.layers else "--set"
        raise FlowloomError(
            f"{word} asks something else than the run's own recipe; say --out NAME, under which it is kept "
            "beside the run's own results"
        )
    if args.n is not None and args.n < 2:
        raise FlowloomError(f"-n must be at least 2, got {args.n}")
    overrides = [*args.overrides, *([] if args.n is None else [f"evaluate.n={args.n}"])]
    name = args.out if args.out is not None or args.n is None else f"n-{args.n}"
    device = pick_device(args.device)
    assembly, folder = open_run(
        args.run_folder, trust=args.trust, layers=args.layers, overrides=overrides, judged=True
    )
    place = folder if name is None else folder.beside(name)
    if name is not None and not assembly.judged:
        raise FlowloomError("this recipe names no metrics, scores or tasks, so there is nothing to evaluate")
    assembly.to(device)
    with place.locked():
        rehearse(assembly, "nothing was evaluated")
        # Results of other rows would stand under this run's name. Where none are here the rehearsal said
        # what is missing, or nothing asks for them.
        here = not isinstance(assembly.built.get("data"), Remembered)
        require_same_data(folder.data, assembly.spec, assembly.data if here else None)
        if name is not None:
            place.ask(assembly.built.resolved(place.recipe.parent, used={}))
        result = judge_and_report(assembly, place, again=True)
    if result is None:
        raise FlowloomError("the run's recipe names no metrics, scores or tasks; only its report was written")
    print_table(result)
    if place.report.is_file():  # a note said so where not
        print(f"report: {place.report}")
    return 0
