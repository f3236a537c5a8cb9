"""The records and helpers that authors of components meet, by what they are for."""

from __future__ import annotations

from collections.abc import Mapping

RECORDS: Mapping[str, tuple[str, ...]] = {
    "States": (
        "flowloom.state:State",
        "flowloom.state:Time",
        "flowloom.state:Cond",
        "flowloom.state:Shape",
        "flowloom.draw:Draw",
    ),
    "What data promise": (
        "flowloom.spec:Spec",
        "flowloom.spec:Condition",
        "flowloom.spec:Role",
        "flowloom.data.base:Examples",
        "flowloom.data.base:Tensors",
        "flowloom.layout:Layout",
        "flowloom.paths.base:Point",
    ),
    "Training": (
        "flowloom.objectives.base:Batch",
        "flowloom.objectives.base:Step",
        "flowloom.objectives.base:Loss",
        "flowloom.objectives.base:Turn",
        "flowloom.objectives.base:PointObjective",
        "flowloom.training.feeds.base:Feeding",
        "flowloom.training.feeds.base:coupled",
        "flowloom.training.config:TrainConfig",
        "flowloom.training.config:TurnConfig",
        "flowloom.training.parallel.config:ParallelConfig",
        "flowloom.training.loop:Trainer",
    ),
    "Sampling": (
        "flowloom.paths:Kind",
        "flowloom.fields.base:Field",
        "flowloom.fields.base:NetworkField",
        "flowloom.fields.flow_map:FlowMap",
        "flowloom.fields.flow_map:AverageVelocityMap",
        "flowloom.solvers.base:FixedGrid",
        "flowloom.solvers.walk:Solution",
        "flowloom.solvers.walk:Call",
        "flowloom.solvers.walk:Hook",
    ),
    "Judging": ("flowloom.renderers:Figure",),
    "The whole": ("flowloom.flow:Flow", "flowloom.clashes:Clash", "flowloom.clashes:Parts"),
    "For networks": (
        "flowloom.models.embeddings:TimeEmbedding",
        "flowloom.models.embeddings:ConditionEmbedding",
        "flowloom.conditions:withheld",
        "flowloom.module_names:module_name",
    ),
    "For plugins": (
        "flowloom_registry.plugins.registrar:Registrar",
        "flowloom_registry.plugins.hookspecs:flowloom_register",
        "flowloom_registry.plugins.hookspecs:flowloom_step",
        "flowloom_registry.plugins.hookspecs:flowloom_commands",
        "flowloom.kinds:Kind",
        "flowloom_registry.plugins.sections:Section",
        "flowloom_registry.plugins.rows:Row",
        "flowloom.testing.laws:Context",
    ),
    "Errors": (
        "flowloom.errors:FlowloomError",
        "flowloom.errors:DataError",
        "flowloom.errors:ShapeError",
        "flowloom.errors:IncompatibleError",
        "flowloom.errors:TrainingError",
        "flowloom.errors:SolverError",
        "flowloom.errors:RunError",
        "flowloom.errors:MissingDependencyError",
    ),
}
"""Group -> targets. What a contract's signature mentions has to be here; the tests look."""
