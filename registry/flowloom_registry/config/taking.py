"""Reading ``{run: NAME, part: SECTION, frozen: false}``: which run is meant, and which part of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowloom_registry.config.nodes import MapNode, Node, ScalarNode, given
from flowloom_registry.config.scope import Scope
from flowloom_registry.config.stage import PREVIOUS, Stage
from flowloom_registry.config.taken import FROZEN, PART, RUN, RunPlan
from flowloom_registry.config.within import told_within
from flowloom_registry.errors import Problem
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.plugins.sections import SPEC_GIVERS

_NOT_KEPT = ("data", "feed")
"""Sections that a run does not keep: they are made of files that lie elsewhere."""


@dataclass(frozen=True)
class Taking:
    """Makes plans of references.

    Args:
        catalog: for sections and contracts.
        scope: where the reference stands.
        stage: where its recipe stands among stages, if it is one.
    """

    catalog: Catalog
    scope: Scope
    stage: Stage | None

    def plan(self, node: MapNode, kind: str | None, path: str) -> RunPlan | list[Problem]:
        """The plan of a reference, or what is wrong with it.

        Args:
            node: a mapping with ``run``.
            kind: of the part that is wanted; None for a whole flow.
            path: dotted path, for messages.
        """
        problems: list[Problem] = []
        accepted = (RUN, FROZEN) if kind is None else (RUN, PART, FROZEN)
        for key, entry in node.entries.items():
            if key not in accepted:
                hint = join_hints(did_you_mean(str(key), accepted), f"it takes: {', '.join(accepted)}")
                what = f"a part of another run has no {key!r}" if kind else f"another run has no {key!r} here"
                problems.append(entry.key_at.problem(f"{path}.{key}", what, hint))
        stage, folder = self._which(node.entries[RUN].node, path, problems)
        part = self._part(node.get(PART), kind, path, problems)
        frozen = self._flag(node.get(FROZEN), path, problems)
        if problems:
            return problems
        contract = self.catalog.contract(kind) if kind is not None else None
        # What stands between data and states is told what data it meets here.
        between = self.scope.current in SPEC_GIVERS and path == self.scope.current
        spec = self.scope.spec() if between else None
        injected = {} if spec is None else {"spec": spec}
        reference = str(node.entries[RUN].node.value)  # type: ignore[union-attr]  # _which saw a text
        return RunPlan(reference, stage, folder, part, frozen, contract, path, node.at, injected)

    def _which(self, node: Node, path: str, problems: list[Problem]) -> tuple[str | None, Path | None]:
        """The stage or folder that is meant."""

        def note(message: str, hint: str = "") -> tuple[None, None]:
            problems.append(node.at.problem(f"{path}.{RUN}", message, hint))
            return None, None

        if not (isinstance(node, ScalarNode) and isinstance(node.value, str) and node.value):
            return note(f"expected an earlier stage or the folder of a run, got {given(node)}")
        word, stage = node.value, self.stage
        if stage is not None and word in stage.earlier:
            return stage.earlier[word], None
        if stage is not None and word in stage.later:
            what = "names itself" if word == stage.name else f"names stage {word!r}, which comes later"
            return note(f"stage {stage.name!r} {what}", self._earlier())
        if word == PREVIOUS:
            first = f"{stage.name!r} is the first stage" if stage else "this recipe has no stages"
            return note(f"there is nothing before: {first}")
        folder = node.at.locate(word)
        # One with stages that has not come to its last is a run, which says so itself when it is opened.
        if not any((folder / name).is_file() for name in ("status.json", "stages.yaml")):
            there = "that folder holds no run" if folder.is_dir() else f"there is no folder {str(folder)!r}"
            known = stage.earlier if stage is not None else ()
            hints = (did_you_mean(word, known), told_within(folder), self._earlier())
            return note(f"no run {word!r}: {there}", join_hints(*hints))
        return None, folder

    def _earlier(self) -> str:
        if self.stage is None:
            return ""
        names = [name for name in self.stage.earlier if name != PREVIOUS]
        return f"stages before this one: {', '.join(names) or 'none'}"

    def _part(self, node: Node | None, kind: str | None, path: str, problems: list[Problem]) -> str:
        """The section that is meant; empty for the whole flow."""
        if kind is None:
            return ""
        sections = {
            name: its.kind
            for name, its in self.catalog.sections.items()
            if its.form == "component" and name not in _NOT_KEPT
        }
        if node is None:
            room, _, last = path.rpartition(".")
            if room in self.scope.named:
                return ""  # a role is the whole flow, whose network answers for it
            fitting = [name for name, its_kind in sections.items() if its_kind == kind]
            if fitting:
                return last if last in fitting else fitting[0]
        word: Any = node.value if isinstance(node, ScalarNode) else None
        head, _, role = str(word).partition(".")
        its_kind = self.scope.named.get(head) if role else sections.get(str(word))
        if its_kind == kind:
            return str(word)
        said = "" if node is None else f", and {PART} is {given(node)}"
        accepted = [name for name, one in sections.items() if one == kind]
        rooms = [f"{room}.NAME" for room, one in self.scope.named.items() if one == kind]
        if word in _NOT_KEPT or kind == "dataset":
            message = "a run keeps no data of its own that others could take"
            hint = "name the data here, or 'use: samples' for what that run generates"
        else:
            message = f"a {kind} is wanted here{said}"
            hint = join_hints(
                did_you_mean(str(word), accepted),
                f"parts of that kind: {', '.join((*accepted, *rooms)) or 'none'}",
            )
        at = node.at if node is not None else self.scope.absent.get(self.scope.current)
        assert at is not None
        problems.append(at.problem(f"{path}.{PART}", message, hint))
        return ""

    def _flag(self, node: Node | None, path: str, problems: list[Problem]) -> bool:
        if node is None:
            return True
        if isinstance(node, ScalarNode) and isinstance(node.value, bool):
            return node.value
        problems.append(node.at.problem(f"{path}.{FROZEN}", f"expected true or false, got {given(node)}"))
        return True
