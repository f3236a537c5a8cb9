"""``flowloom serve RUN``."""

from __future__ import annotations

import argparse
from pathlib import Path

from flowloom_registry.cli.given import examples

PACKAGES = ("starlette", "uvicorn")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a trained run")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8008, help="0 for any free one (default: 8008)")
    parser.add_argument("--max-n", type=int, default=64, help="examples a request (default: 64)")
    parser.add_argument("--max-steps", type=int, default=200, help="solver steps a request (default: 200)")
    parser.add_argument("--queue", type=int, default=32, help="requests that may wait (default: 32)")
    parser.add_argument("--batch", type=int, default=256, help="examples drawn together (default: 256)")
    parser.add_argument("--max-body", type=int, default=2**20, help="bytes of a request (default: 1 MiB)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for an answer (default: 60)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name under which requests may call the server, such as flows.example.org",
    )
    parser.add_argument(
        "--trust", action="store_true", help="run code that the recipe names by file or module"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the best one present)")
    examples(
        parser,
        "flowloom serve runs/digits",
        "flowloom serve runs/digits --port 9000 --max-n 16 --queue 8",
        'curl -d \'{"n": 4, "seed": 0, "cond": {"label": 3}}\' -H "Content-Type: application/json" '
        "http://127.0.0.1:8008/sample",
    )


def run(args: argparse.Namespace) -> int:
    """Answer requests until Ctrl-C."""
    from importlib.util import find_spec

    from flowloom.errors import MissingDependencyError

    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingDependencyError(
                f"serving needs the package '{package}'; pip install 'flowloom[serve]'"
            )
    from flowloom_registry.delivery.listening import bind

    with bind(args.host, args.port) as bound:  # before torch is imported, which takes seconds
        from flowloom_registry.delivery.service import Limits, Service
        from flowloom_registry.delivery.web import Bounds, serve
        from flowloom_registry.runs.open import open_run, pick_device

        limits = Limits(args.max_n, args.max_steps, args.queue, args.batch)
        hosts = (*Bounds().hosts, args.host, *args.allow_host)
        bounds = Bounds(args.max_body, args.timeout, hosts)
        device = pick_device(args.device)
        assembly, _ = open_run(args.run_folder, trust=args.trust)
        assembly.flow.objective.require_generates()
        assembly.to(device)
        host, port = bound.getsockname()[:2]
        shown = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        # The socket listens already: what comes before the server is up waits in it.
        print(f"serving {assembly.name} on {shown} (POST /sample, GET /health); Ctrl-C ends it", flush=True)
        serve(Service(assembly, limits), bounds, bound)
    return 0
