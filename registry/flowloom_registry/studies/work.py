"""One cell carried out: a run, or an evaluation of another cell's run."""

from __future__ import annotations

import sys
import time
import traceback

import torch

from flowloom.errors import FlowloomError, IncompatibleError, RunError
from flowloom_registry.config.stages import staged
from flowloom_registry.errors import MisfitError, one_line
from flowloom_registry.runs.assembly import assemble
from flowloom_registry.runs.carry_out import judge_and_report
from flowloom_registry.runs.folder import InUseError, RunFolder, read_text, write_text
from flowloom_registry.runs.identity import changed
from flowloom_registry.runs.rehearse import rehearse
from flowloom_registry.runs.same_data import require_same_data
from flowloom_registry.runs.stages import carry_out_stages, changed_stage, lend_stages
from flowloom_registry.runs.weights import restore
from flowloom_registry.studies.cells import Cell
from flowloom_registry.studies.folder import ABSENT, FAILED, FINISHED, RUNNING, UNDEFINED, State, StudyFolder

ELSEWHERE = "another process is at work on it"
"""Of a cell that runs, and not here."""


def work(cell: Cell, study: StudyFolder, device: torch.device) -> State:
    """Carry a cell out and write down how it went; what goes wrong is its state, and stops nothing.

    One that another process is at work on is left to it, its state too.
    """
    if cell.lacking:
        state = State(ABSENT, f"needs {', '.join(f'flowloom-{name}' for name in cell.lacking)}")
        study.set_state(cell.name, state)
        return state
    before = study.state(cell.name)
    began = time.monotonic()
    study.set_state(cell.name, State(RUNNING, "", before.seconds, before.asked))
    try:
        told = _beside(cell, study, device) if cell.trains else _trained(cell, study, device)
        found = State(FINISHED, told)
    except MisfitError as error:
        found = State(UNDEFINED, reason(error))
    except InUseError:
        return State(RUNNING, ELSEWHERE, before.seconds, before.asked)
    except (Exception, SystemExit) as error:
        if not isinstance(error, FlowloomError):
            traceback.print_exc(file=sys.stderr)
        # What a rehearsal finds that parts cannot do together is told as the building of them tells it.
        misfit = isinstance(error.__cause__, IncompatibleError)
        found = State(UNDEFINED if misfit else FAILED, reason(error))
    seconds = before.seconds + time.monotonic() - began
    state = State(found.state, found.why, round(seconds, 2), cell.asked)
    study.set_state(cell.name, state)
    return state


def reason(error: BaseException) -> str:
    """The message of an error that is written for people, in one line; else with its type."""
    if isinstance(error, MisfitError):
        return "; ".join(problem.message for problem in error.problems)
    return " ".join(str(error).split()) if isinstance(error, FlowloomError) else one_line(error)


def difference(cell: Cell, study: StudyFolder) -> str | None:
    """What a begun cell was trained by that is not so any more: ``train.steps: 20 -> 30``; else None."""
    run = study.run_of(cell)
    if staged(cell.recipe):
        return changed_stage(cell.recipe, run.path)
    if not run.exists() or run.untouched() or not run.recipe.is_file():
        return None
    assembly = assemble(cell.recipe)
    return changed(read_text(run.recipe), assembly.built.resolved(run.path), assembly)


def _trained(cell: Cell, study: StudyFolder, device: torch.device) -> str:
    """Train, or go on; returns what was left out."""
    other = difference(cell, study)
    if other is not None:
        study.set_aside(cell.name)
    run = study.run_of(cell)
    for name in lend_stages(cell.recipe, run.path, study.runs_beside(cell)):
        print(f"stage {name}: as another cell trained it", file=sys.stderr)
    _, result = carry_out_stages(cell.recipe, run.path, device)
    return "; ".join(result.notes) if result is not None else ""


def _beside(cell: Cell, study: StudyFolder, device: torch.device) -> str:
    """Ask the weights of another cell; returns what was left out."""
    run = study.run_of(cell)
    if not run.exists() or run.status()["state"] != "finished":
        if run.in_use():
            raise InUseError(run.path)
        raise RunError(f"cell {cell.trains}, whose weights it is asked with, did not finish")
    assembly = assemble(cell.recipe)
    other = changed(read_text(run.recipe), assembly.built.resolved(run.path), assembly, trained=True)
    if other is not None:
        raise RunError(f"it would be trained otherwise than {cell.trains} ({other}); so it shares no weights")
    require_same_data(run.data, assembly.spec)
    restore(assembly.flow, run)
    assembly.to(device)
    assembly.flow.eval()
    place: RunFolder = study.results_of(cell)
    with place.locked():
        rehearse(assembly, "nothing was evaluated")
        write_text(place.recipe, assembly.built.resolved(place.recipe.parent))
        result = judge_and_report(assembly, place)
    return "; ".join(result.notes) if result is not None else ""
