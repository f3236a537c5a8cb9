"""The kinds of component and the contract that each must keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of component.

    Args:
        name: word used by rows and by ``flowloom list KIND``.
        contract: class or protocol that members obey, as ``module:Class``.
        meaning: one line for a reader.
    """

    name: str
    contract: str
    meaning: str


KINDS: tuple[Kind, ...] = (
    Kind("dataset", "flowloom.data:Dataset", "examples to learn from, with their splits and conditions"),
    Kind("codec", "flowloom.codecs:Codec", "raw data to states and back"),
    Kind("geometry", "flowloom.geometry:Geometry", "the space in which states live"),
    Kind("source", "flowloom.sources:Source", "the law of x0 at t = 0"),
    Kind("coupling", "flowloom.couplings:Coupling", "which x0 is paired with which x1"),
    Kind("schedule", "flowloom.schedules:Schedule", "alpha(t) and sigma(t) of an affine path"),
    Kind("times", "flowloom.times:TimeLaw", "the law of t in training"),
    Kind("weight", "flowloom.weights:Weight", "the weight of the loss at time t"),
    Kind("path", "flowloom.paths:Path", "the way from x0 to x1"),
    Kind("model", "flowloom.models:Model", "a network of state and time"),
    Kind("objective", "flowloom.objectives:Objective", "the loss, and what the trained network is"),
    Kind("guidance", "flowloom.guidance:Guidance", "a field in, a steered field out"),
    Kind("solver", "flowloom.solvers:Solver", "integrates a field from source to data"),
    Kind("feed", "flowloom.training.feeds:Feed", "gives the batches of training"),
    Kind("optimizer", "flowloom.training.optimizers:Optimizer", "moves the parameters of a turn"),
    Kind("decay", "flowloom.training.decays:Decay", "the learning rate, step by step"),
    Kind("combiner", "flowloom.training.combiners:Combiner", "one descent from several losses"),
    Kind("metric", "flowloom.metrics:Metric", "compares samples with real data"),
    Kind("score", "flowloom.scores:Score", "what a trained flow says of held-out examples"),
    Kind("renderer", "flowloom.renderers:Renderer", "shows states in a report"),
    Kind("task", "flowloom.tasks:Task", "what is asked of a trained flow beyond free generation"),
    Kind("tracker", "flowloom.trackers:Tracker", "records a run as it goes"),
)
"""Core's kinds, in the order of the way of the data; plugins add theirs with ``reg.kind``."""

SPEC = "flowloom.spec:Spec"
"""Class whose parameters are filled with the spec of the data."""
