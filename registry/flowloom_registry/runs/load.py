"""A finished run in two lines of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from flowloom.flow import Flow
from flowloom.solvers import Solver
from flowloom.spec import Spec
from flowloom.state import State
from flowloom_registry.runs.drawing import require_told
from flowloom_registry.runs.open import open_run, pick_device


class Run:
    """A trained run.

    Args:
        path: its folder.
        device: where to put the flow; the best one present where None.
        trust: see `load`.

    Attributes:
        flow: model and everything around it, ready to sample and score.
        spec: of the data.
    """

    def __init__(self, path: str | Path, device: str | None = None, *, trust: bool = False) -> None:
        self.assembly, self.folder = open_run(Path(path), trust=trust)
        self.flow: Flow = self.assembly.flow
        self.assembly.to(pick_device(device))
        self.spec: Spec = self.assembly.spec

    def sample(self, n: int, *, solver: Solver | None = None, seed: int | None = None, **cond: Any) -> State:
        """Draw ``n`` examples of data; conditions by name (``label=3``). See `flowloom.Flow.sample`.

        One that training never withheld has to be given.

        Where examples differ in size and none is given, sizes are drawn as in the training data.
        """
        sizes = {} if set(self.spec.named("real")) <= set(cond) else self.assembly.lengths(n, seed or 0)
        asked = {**sizes, **cond}
        require_told(self.flow, asked)
        return self.flow.sample(n, solver=solver, seed=seed, **asked)

    def log_prob(self, x: State, **settings: Any) -> torch.Tensor:
        """Log density of states. See `flowloom.Flow.log_prob`."""
        return self.flow.log_prob(x, **settings)


def load(path: str | Path, device: str | None = None, *, trust: bool = False) -> Run:
    """Load a run folder: ``load("runs/digits").sample(16, label=3)``.

    Only YAML, JSON and safetensors are read; nothing is unpickled.

    Args:
        path: the run folder.
        device: where to put the flow; the best one present where None.
        trust: also build components from files and modules that no installed plugin lists. That runs
            their code, so set it only for runs of your own.

    Raises:
        RunError: the folder is not a run, is half-written, or its files do not fit together.
    """
    return Run(path, device, trust=trust)
