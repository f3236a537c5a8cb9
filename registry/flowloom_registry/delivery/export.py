"""A run as graphs that need no flowloom: its network, and a sampler of fixed steps, by torch.export and ONNX.

Graphs take the states and conditions that the network sees, by name, with any number of rows, and every
graph that is written was compared with the run on rows and in numbers that it was not captured on.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import secrets
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.data import Examples
from flowloom.data.records import examples_of, records
from flowloom.errors import FlowloomError, IncompatibleError, MissingDependencyError, RunError
from flowloom.flow import Flow
from flowloom.solvers import Solver
from flowloom.state import Cond, leaves
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.folder import RunFolder, hash_file, write_text
from flowloom_registry.runs.starting import Start, start
from flowloom_registry.runs.used import fingerprint

__all__ = ["FORMATS", "Exported", "export"]

FORMATS = ("torch", "onnx")
TOLERANCE = 1e-5
"""Largest deviation from the run, of what is about 1 in size; relative to what is larger."""
_ROWS, _OTHERS = 3, (1, 5)
"""Rows on which a graph is captured, and numbers of rows on which it is compared."""
ONNX_PACKAGES = ("onnx", "onnxscript")


@dataclass
class Exported:
    """What was written.

    Args:
        files: graphs.
        notes: a line for everything that was left out.
    """

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export(
    assembly: Assembly,
    folder: RunFolder,
    out: Path,
    cond: Callable[[int], Cond],
    *,
    solver: Solver,
    formats: Sequence[str] = FORMATS,
) -> Exported:
    """Write ``field.pt2``, ``sampler.pt2``, the same as ``.onnx``, and ``export.json``, which explains them.

    Args:
        assembly: of the run; on the CPU.
        folder: of the run.
        out: where.
        cond: conditions of so many examples.
        solver: of the sampler.
        formats: some of `FORMATS`.

    Raises:
        IncompatibleError: the network cannot be captured as a graph, or a graph deviates from the run.
        MissingDependencyError: a format needs a package that is not here.
        RunError: the folder cannot be written.
    """
    if "onnx" in formats:
        missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
        if missing:
            raise MissingDependencyError(
                f"ONNX needs the package '{missing[0]}'; pip install 'flowloom[onnx]' (or --format torch)"
            )
    assembly.flow.objective.require_generates()
    flow, done, entries = assembly.flow, Exported(), dict[str, Any]()
    seen = {n: start(flow, n, seed=n, cond=cond(n)) for n in (_ROWS, *_OTHERS)}
    told: dict[str, Any] = {"kind": _plain(flow.field().kind)}
    entries["field"] = _written(_FieldGraph(flow), "field", seen, out, formats, done) | told
    try:
        graph = _sampler(flow, solver)
        told = {"solver": type(solver).__name__, "steps": getattr(solver, "steps", None)}
        entries["sampler"] = _written(graph, "sampler", seen, out, formats, done) | told
    except IncompatibleError as error:
        done.notes.append(f"no sampler was written: {error}")
    manifest = {**_facts(assembly, folder), "graphs": entries}
    write_text(out / "export.json", json.dumps(manifest, indent=2) + "\n")
    done.files.append(out / "export.json")
    return done


def _written(
    graph: _Graph, name: str, seen: Mapping[int, Start], out: Path, formats: Sequence[str], done: Exported
) -> dict[str, Any]:
    """Capture, compare and write one graph; returns what the manifest says of it."""
    inputs = {n: graph.inputs(one) for n, one in seen.items()}
    with torch.no_grad():
        answers = {n: graph(given) for n, given in inputs.items()}
    program = _captured(graph, inputs[_ROWS], name)
    exact = _compared(program.module(), inputs, answers, f"{name}.pt2")
    entry = {"inputs": _described(inputs[_ROWS]), "outputs": _described(answers[_ROWS])}
    files: dict[str, Any] = {}
    if "torch" in formats:
        file = out / f"{name}.pt2"
        _put(file, lambda partial: torch.export.save(program, partial))
        files[file.name] = {"sha256": hash_file(file), "deviation": exact}
        done.files.append(file)
    if "onnx" in formats:
        file = out / f"{name}.onnx"
        model = _as_onnx(program, inputs[_ROWS], answers[_ROWS], name)
        gap = _put(file, model.save, lambda partial: _in_runtime(partial, inputs, answers, file.name))
        if gap is None:
            done.notes.append(f"{file.name} was not compared with the run: pip install 'flowloom[onnx]'")
        opset = int(model.model.opset_imports[""])
        files[file.name] = {"sha256": hash_file(file), "deviation": gap, "opset": opset}
        done.files.append(file)
    return {**entry, "files": files}


def _facts(assembly: Assembly, folder: RunFolder) -> dict[str, Any]:
    flow = assembly.flow
    return {
        "format": 1,
        "name": assembly.name,
        "run": {k: v for k, v in fingerprint(folder).items() if k in ("weights", "recipe")},
        "torch": torch.__version__,
        "span": list(flow.field().span),
        "source": type(flow.source).__name__,
        "guidance": None if flow.guidance is None else type(flow.guidance).__name__,
        "tolerance": TOLERANCE,
    }


class _Graph(nn.Module):
    """Tensors by name to tensors by name.

    Args:
        flow: what it is made of.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    @abstractmethod
    def inputs(self, seen: Start) -> dict[str, Tensor]:
        """Of rows that a solver would be given."""


class _FieldGraph(_Graph):
    """The field of a flow, guided as it samples: ``x``, ``t`` and ``cond.name`` to ``out``."""

    def inputs(self, seen: Start) -> dict[str, Tensor]:
        """States half-way, as they may be met."""
        start, end = self.flow.field().span
        n = next(len(leaf) for _, leaf in leaves(seen.x0))
        t = torch.linspace(start, end, n + 2)[1:-1].to(self.flow.dtype)
        return records(seen.x0, "x", seen.cond) | {"t": t}

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Evaluate the field."""
        given = examples_of({k: v for k, v in inputs.items() if k != "t"}, "x")
        x, layout = given.x, self.flow.layout(given.cond)
        if layout is not None:
            x = layout.fill(x)
        return records(self.flow.field()(x, inputs["t"], given.cond), "out")


class _SamplerGraph(_Graph):
    """A solver and the codec of a flow: ``x0`` and ``cond.name`` to data ``x``."""

    def __init__(self, flow: Flow, solver: Solver) -> None:
        super().__init__(flow)
        self.solver = solver

    def inputs(self, seen: Start) -> dict[str, Tensor]:
        """Draws of the source."""
        return records(seen.x0, "x0", seen.cond)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Walk from source to data."""
        given, flow = examples_of(inputs, "x0"), self.flow
        found = self.solver.solve(flow.field(), given.x, cond=given.cond, layout=flow.layout(given.cond))
        return records(flow.decode(Examples(found.x, found.cond)).x, "x")


def _sampler(flow: Flow, solver: Solver) -> _SamplerGraph:
    who = next((one for one in (solver, flow.field()) if one.stochastic), None)
    if who is not None:
        raise IncompatibleError(
            f"{type(who).__name__} draws on its way, and a graph does not; name an ODE solver with --solver"
        )
    return _SamplerGraph(flow, solver)


def _captured(graph: _Graph, inputs: dict[str, Tensor], name: str) -> torch.export.ExportedProgram:
    """By torch.export, with any number of rows.

    Raises:
        IncompatibleError: something in it is no graph; says what.
    """
    shapes = ({key: {0: torch.export.Dim("rows", min=1)} for key in inputs},)
    first: Exception | None = None
    # By bytecode `len(x)` stays a symbol; by running the code, more of Python can be followed.
    for strict in (True, False):
        try:
            with _silent(), torch.no_grad():
                return torch.export.export(graph, (inputs,), dynamic_shapes=shapes, strict=strict)
        except FlowloomError:
            raise
        except Exception as error:  # whatever torch raises, it is that this is no graph
            first = first or error
    line = next((line for line in str(first).splitlines() if line.strip()), type(first).__name__)
    raise IncompatibleError(f"torch.export cannot make one graph of the {name}: {line.strip()}") from first


def _as_onnx(program: Any, inputs: Mapping[str, Tensor], answers: Mapping[str, Tensor], name: str) -> Any:
    try:
        with _silent():
            return torch.onnx.export(
                program,
                dynamo=True,
                input_names=list(inputs),
                output_names=list(answers),
                verbose=False,
            )
    except Exception as error:  # of many kinds, all of them about an operator that ONNX lacks
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = next(
            (line for line in lines if "Failure" in line or "Error" in line), lines[0] if lines else ""
        )
        raise IncompatibleError(
            f"ONNX cannot hold the {name} ({said or type(error).__name__}); --format torch can"
        ) from error


def _compared(
    call: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    inputs: Mapping[int, dict[str, Tensor]],
    answers: Mapping[int, Mapping[str, Tensor]],
    name: str,
) -> float:
    """Largest deviation of a graph from the run.

    Raises:
        IncompatibleError: it is more than `TOLERANCE`, or a number of rows cannot be asked for.
    """
    worst = 0.0
    for n, given in inputs.items():
        try:
            with torch.no_grad():
                found = call(given)
        except Exception as error:  # a graph that was fixed to the rows it was captured on
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise IncompatibleError(f"{name} does not take {n} rows: {first}") from error
        for key, right in answers[n].items():
            right = right.detach()
            scale = max(1.0, float(right.double().abs().max())) if right.numel() else 1.0
            gap = float((found[key].double() - right.double()).abs().max()) / scale
            worst = max(worst, gap if gap == gap else float("inf"))
    if worst > TOLERANCE:
        raise IncompatibleError(f"{name} deviates from the run by {worst:.2g}, more than {TOLERANCE:g}")
    return worst


def _in_runtime(
    file: Path,
    inputs: Mapping[int, dict[str, Tensor]],
    answers: Mapping[int, Mapping[str, Tensor]],
    name: str,
) -> float | None:
    """The same in onnxruntime; None where that is not installed."""
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    wanted = {one.name for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]

    def call(given: dict[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(names, {k: v.numpy() for k, v in given.items() if k in wanted})
        return {key: torch.from_numpy(value) for key, value in zip(names, found, strict=True)}

    return _compared(call, inputs, answers, name)


def _put(file: Path, write: Callable[[str], Any], look: Callable[[Path], Any] = lambda partial: None) -> Any:
    """Write beside the file, look at what was written, then rename it into place."""
    partial = file.with_name(f".{os.getpid()}{secrets.randbelow(10**9):09d}.{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _silent():
            write(str(partial))
        found = look(partial)
        os.replace(partial, file)
        return found
    except OSError as error:
        raise RunError(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _described(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        name: {"dtype": str(value.dtype).removeprefix("torch."), "shape": ["rows", *value.shape[1:]]}
        for name, value in tensors.items()
    }


def _plain(kind: Any) -> Any:
    return {name: _plain(one) for name, one in kind.items()} if isinstance(kind, Mapping) else kind


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Inside, torch does not tell of what it does."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
