"""The sections of a recipe: what each may hold and what stands there when it is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Form = Literal["component", "components", "named", "record", "text", "integer", "mapping", "claims", "meta"]
"""``named`` maps names to components; ``record`` is a dataclass; ``claims`` are for studies,
``meta`` is read by the loader itself."""


@dataclass(frozen=True)
class Section:
    """One top-level key of a recipe.

    Args:
        name: the key.
        form: what its value is.
        meaning: one line for a reader.
        kind: kind of the component (or components) it names.
        default: component used when the section is left out or has no ``use``.
        required: True where a recipe without it is incomplete.
        target: dataclass of a record, as ``module:Class``.
        inherited: False where ``extends`` does not hand it down.
        chosen: by what a component is chosen where none is named: ``spec`` for that of the states (once the
            data are there), ``geometry`` for the class of the geometry. See `flowloom.defaults`.
        always: True where a flow is never without one, so that ``null`` is refused.
        judges: True where it only says what is asked of trained weights: it can change without training anew.
        of_data: True where its components are told the spec of data, and not that of states behind a codec.
    """

    name: str
    form: Form
    meaning: str
    kind: str | None = None
    default: str | None = None
    required: bool = False
    target: str | None = None
    inherited: bool = True
    chosen: Literal["spec", "geometry"] | None = None
    always: bool = False
    judges: bool = False
    of_data: bool = False


SECTIONS: tuple[Section, ...] = (
    Section(
        "name", "text", "name of the recipe; the file's name when left out", inherited=False, judges=True
    ),
    Section("summary", "text", "one line about it", inherited=False, judges=True),
    Section("paper", "text", "arXiv id of the paper it follows", inherited=False, judges=True),
    Section(
        "extends",
        "meta",
        "recipe, or list of recipes, (file or name) that this one changes",
        inherited=False,
        judges=True,
    ),
    Section(
        "stages",
        "meta",
        "list: trainings that follow each other, each laid over the recipe; see 'Stages and other runs'",
        judges=True,
    ),
    Section("versions", "meta", "plugin versions of a resolved recipe", inherited=False, judges=True),
    Section("seed", "integer", "seed of everything random in the run"),
    Section("data", "component", "the examples", "dataset"),
    Section("feed", "component", "what batches are made of", "feed", "rows", always=True),
    Section("views", "components", "what is made of the examples, in order: masks, crops, noise", "view"),
    Section("codec", "component", "raw data to states and back", "codec"),
    Section("geometry", "component", "the space of the states", "geometry", chosen="spec", always=True),
    Section("source", "component", "the law of x0", "source", chosen="geometry", always=True),
    Section("coupling", "component", "pairs x0 with x1", "coupling", "independent", always=True),
    Section("schedule", "component", "alpha(t) and sigma(t)", "schedule"),
    Section("times", "component", "the law of t in training", "times"),
    Section("weight", "component", "the weight of the loss at t", "weight"),
    Section("energy", "component", "what is sampled without data, or steered by", "energy"),
    Section("path", "component", "the way from x0 to x1", "path", chosen="geometry", always=True),
    Section("model", "component", "the network", "model"),
    Section("roles", "named", "further networks by name: a teacher, a critic", "model"),
    Section("objective", "component", "the loss", "objective", chosen="geometry", always=True),
    Section("guidance", "component", "steers the field in sampling", "guidance", judges=True),
    Section(
        "solver", "component", "integrates the field", "solver", chosen="geometry", always=True, judges=True
    ),
    Section("metrics", "components", "compare samples with real data", "metric", judges=True),
    Section(
        "baselines",
        "components",
        "rules of the domain beside the flow, a column each",
        "baseline",
        judges=True,
    ),
    Section("scores", "components", "what the trained flow says of held-out examples", "score", judges=True),
    Section("tasks", "components", "what is asked about held-out rows, and judged", "task", judges=True),
    Section("renderer", "component", "shows samples in the report", "renderer", judges=True, of_data=True),
    Section("trackers", "components", "record the run as it goes", "tracker", judges=True),
    Section("train", "record", "how to train", target="flowloom.training:TrainConfig"),
    Section(
        "validate",
        "record",
        "looks at held-out data in training, and stopping early",
        target="flowloom_registry.runs.config:ValidateConfig",
    ),
    Section(
        "evaluate",
        "record",
        "how to evaluate",
        target="flowloom_registry.runs.config:EvaluateConfig",
        judges=True,
    ),
    Section(
        "sample", "record", "how to sample", target="flowloom_registry.runs.config:SampleConfig", judges=True
    ),
    Section("claim", "claims", "what the paper claims, at this scale", inherited=False, judges=True),
)
"""Core's sections, in the order in which a resolved recipe is written."""

SPEC = "flowloom.spec:Spec"
"""Class whose parameters are filled with the spec of the data."""

TRAINED = "flowloom.trained:Trained"
"""Class whose parameters are filled with a whole run, or with the role of their name."""

SPEC_GIVERS: tuple[str, ...] = ("codec", "feed", "data")
"""Sections whose ``.spec`` describes the states, best first: after a codec, its spec is what counts."""

CONDITIONS_GIVER, CONDITIONS_TAKER = "objective", "model"
"""The conditions that the one asks for join those of the data in the spec that the other is given."""
