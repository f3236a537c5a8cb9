"""The one table of kinds: what components there are, which contract each keeps, and where its laws stand.

The catalog, the command line and the conformance kit read it; a plugin adds kinds of its own in the same form
(``reg.kind``). Contracts and laws are named and not imported, so that listing components costs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """One kind of component.

    Args:
        name: word used by rows and by ``flowloom list KIND``.
        contract: class or protocol that members obey, as ``module:Class``.
        meaning: one line for a reader.
        laws: module whose functions ``check_...`` are the laws of the kind; None where there are none.
    """

    name: str
    contract: str
    meaning: str
    laws: str | None = None


_LAWS = "flowloom.testing.checks"

KINDS: tuple[Kind, ...] = (
    Kind(
        "dataset",
        "flowloom.data:Dataset",
        "examples to learn from, with their splits and conditions",
        f"{_LAWS}.dataset",
    ),
    Kind("view", "flowloom.views:View", "what is made of examples before they are learned", f"{_LAWS}.view"),
    Kind("codec", "flowloom.codecs:Codec", "raw data to states and back", f"{_LAWS}.codec"),
    Kind("geometry", "flowloom.geometry:Geometry", "the space in which states live", f"{_LAWS}.geometry"),
    Kind("source", "flowloom.sources:Source", "the law of x0 at t = 0", f"{_LAWS}.source"),
    Kind("coupling", "flowloom.couplings:Coupling", "which x0 is paired with which x1", f"{_LAWS}.coupling"),
    Kind(
        "schedule",
        "flowloom.schedules:Schedule",
        "alpha(t) and sigma(t) of an affine path",
        f"{_LAWS}.schedule",
    ),
    Kind("times", "flowloom.times:TimeLaw", "the law of t in training", f"{_LAWS}.times"),
    Kind("weight", "flowloom.weights:Weight", "the weight of the loss at time t", f"{_LAWS}.weight"),
    Kind("path", "flowloom.paths:Path", "the way from x0 to x1", f"{_LAWS}.path"),
    Kind("model", "flowloom.models:Model", "a network of state and time", f"{_LAWS}.model"),
    Kind("critic", "flowloom.models:Critic", "one number for a state: how real it looks"),
    Kind(
        "objective",
        "flowloom.objectives:Objective",
        "the loss, and what the trained network is",
        f"{_LAWS}.objective",
    ),
    Kind(
        "guidance",
        "flowloom.guidance:Guidance",
        "a field in, a steered field out",
        f"{_LAWS}.guidance",
    ),
    Kind("solver", "flowloom.solvers:Solver", "integrates a field from source to data", f"{_LAWS}.solver"),
    Kind(
        "energy",
        "flowloom.energies:Energy",
        "a log density up to a constant, to sample or to steer by",
        f"{_LAWS}.energy",
    ),
    Kind("feed", "flowloom.training.feeds:Feed", "gives the batches of training", f"{_LAWS}.feed"),
    Kind("optimizer", "flowloom.training.optimizers:Optimizer", "moves the parameters of a turn"),
    Kind("decay", "flowloom.training.decays:Decay", "the learning rate, step by step"),
    Kind("combiner", "flowloom.training.combiners:Combiner", "one descent from several losses"),
    Kind("metric", "flowloom.metrics:Metric", "compares samples with real data", f"{_LAWS}.metric"),
    Kind(
        "baseline",
        "flowloom.baselines:Baseline",
        "a rule of the domain that a flow has to beat",
        f"{_LAWS}.baseline",
    ),
    Kind("score", "flowloom.scores:Score", "what a trained flow says of held-out examples", f"{_LAWS}.score"),
    Kind("renderer", "flowloom.renderers:Renderer", "shows states in a report", f"{_LAWS}.renderer"),
    Kind(
        "task",
        "flowloom.tasks:Task",
        "what is asked of a trained flow beyond free generation",
        f"{_LAWS}.task",
    ),
    Kind("tracker", "flowloom.trackers:Tracker", "records a run as it goes", f"{_LAWS}.tracker"),
)
"""Core's kinds, in the order of the way of the data."""
