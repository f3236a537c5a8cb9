"""What a run uses of others: opened, hashed, and copied into its folder, which is then whole."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from flowloom.codecs import Codec
from flowloom.errors import FlowloomError, RunError
from flowloom.parts import keep_elsewhere
from flowloom.spec import Spec
from flowloom.trained import Trained
from flowloom_registry.config.plan import RecipePlan
from flowloom_registry.config.recipe import Recipe, load_recipe
from flowloom_registry.config.taken import USED, RunPlan, names_of, taken_in
from flowloom_registry.errors import ConfigError
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.runs.folder import RunFolder, hash_file, read_json, write_bytes, write_text
from flowloom_registry.runs.remembered import standing_in
from flowloom_registry.runs.same_data import spec_as_json
from flowloom_registry.runs.weights import restore

if TYPE_CHECKING:
    from flowloom_registry.runs.assembly import Assembly

STAGES_FOLDER = "stages"
_FINISHED = ("trained", "finished")


@dataclass(frozen=True)
class _Opened:
    """A run that parts are taken from.

    Args:
        assembly: its recipe built, its weights loaded, everything frozen.
        trainable: identities of the parameters that were trained there.
        folder: where it lies, None for a stage that is yet to be trained.
    """

    assembly: Assembly
    trainable: frozenset[int]
    folder: RunFolder | None


class OtherRuns:
    """Opens the runs that a recipe takes parts of, each once.

    Args:
        recipe: that takes them.
        assemble: builds a recipe (`flowloom_registry.runs.assembly.assemble`).
        planned: stages before it that are built and not trained yet, for a look at what would be.
    """

    def __init__(
        self, recipe: Recipe, assemble: Callable[..., Assembly], planned: Mapping[str, Assembly] | None = None
    ) -> None:
        self.recipe, self.assemble, self.planned = recipe, assemble, dict(planned or {})
        self._opened: dict[str, _Opened] = {}

    def take(self, plan: RunPlan, spec: Spec | None) -> Any:
        """The part that a plan names; see `flowloom_registry.config.taken.Runs`."""
        opened = self.opened(plan)
        if not plan.part:
            whole = opened.assembly
            taken: Any = Trained(whole.flow, whole.spec, whole.data, name=plan.name)
        else:
            taken = self._part(opened.assembly, plan)
        if isinstance(taken, nn.Module) and not plan.frozen:
            taken = _thawed(taken, opened.trainable)
        if isinstance(taken, Codec) and spec is not None:
            taken = _meeting(taken, spec, plan)
        return taken

    def keep(self, plan: RecipePlan, home: Path) -> dict[str, Any]:
        """Copy what a recipe uses into ``home/used/``: recipe, what the data were like, and weights.

        What the used runs used in turn lies beside them, once for all that use it.

        Returns:
            Hashes of weights and recipe by name, for ``environment.json``.
        """
        names = names_of(plan.sections)
        opened = {names[one.identity]: self.opened(one) for one in taken_in(plan.sections)}
        copies = _Copies(home / USED, opened)
        for name, one in opened.items():
            copies.lay(name, one)
        return {name: copies.hashes[name] for name in opened}

    def to(self, device: torch.device) -> None:
        """Move what was opened, also where no part of the flow has it."""
        for opened in self._opened.values():
            opened.assembly.flow.to(device)

    def opened(self, plan: RunPlan) -> _Opened:
        """The run that a plan names, opened when it is first asked for."""
        if plan.identity not in self._opened:
            with torch.random.fork_rng(devices=[]):  # what is opened draws nothing from the run's own stream
                self._opened[plan.identity] = self._anew(plan)
        return self._opened[plan.identity]

    def _anew(self, plan: RunPlan) -> _Opened:
        if plan.stage in self.planned:
            return _frozen(self.planned[str(plan.stage)], None)
        folder = RunFolder(folder_of(plan, self.recipe))
        trusted = self.recipe.trusts_runs or (plan.stage is not None and self.recipe.trusted)
        try:
            state = folder.status()["state"]
            if state not in _FINISHED:
                step = folder.status()["step"]
                raise RunError(
                    f"run {plan.reference!r} is unfinished ({state}, step {step}); "
                    f"go on with it first: {folder.going_on()}"
                )
            recipe = load_recipe(str(folder.recipe), trusted=trusted, trusts_runs=trusted)
            data = standing_in(folder, always=True)
            assembly = self.assemble(replace(recipe, catalog=self.recipe.catalog), data=data, sparing=True)
            restore(assembly.flow, folder)
        except ConfigError as error:
            problem = f"run {plan.reference!r} cannot be opened: {error.problems[0]}"
            raise ConfigError([plan.at.problem(plan.path, problem)]) from error
        except FlowloomError as error:
            raise ConfigError([plan.at.problem(plan.path, str(error))]) from error
        return _frozen(assembly, folder)

    def _part(self, assembly: Assembly, plan: RunPlan) -> Any:
        head, _, role = plan.part.partition(".")
        found = assembly.built.get(head)
        if role:
            found = found.get(role) if found else None
        if found is None:
            there = [
                name for name, part in assembly.built.parts.items() if not isinstance(part, (list, dict))
            ]
            roles = [f"roles.{name}" for name in assembly.built.get("roles") or ()]
            hint = join_hints(did_you_mean(plan.part, there), f"it has: {', '.join((*there, *roles))}")
            message = f"run {plan.reference!r} has no {plan.part}"
            raise ConfigError([plan.at.problem(plan.path, message, hint)])
        return found


def folder_of(plan: RunPlan, recipe: Recipe) -> Path:
    """Where a run lies that a recipe takes parts of."""
    if plan.folder is not None:
        return plan.folder
    stage = recipe.stage
    if stage is None or stage.home is None:
        raise ConfigError([plan.at.problem(plan.path, f"stage {plan.reference!r} has no folder yet")])
    return stage.home / STAGES_FOLDER / str(plan.stage)


def fingerprint(folder: RunFolder) -> dict[str, str]:
    """Hashes (sha256) of a run's weights and recipe, and where it lay.

    A copy keeps those of its original, whose recipe named files by other ways. ``used`` is a hash of the
    hashes of what the run used itself: those weights are not among its own.
    """
    kept = folder.path / "original.json"
    weights = {"weights": hash_file(folder.trained_weights())}
    if kept.is_file():
        return {**read_json(kept), **weights}
    before = used_before(folder)
    told = json.dumps(before, sort_keys=True).encode()
    inner = {"used": hashlib.sha256(told).hexdigest()} if before else {}
    return {**weights, "recipe": hash_file(folder.recipe), **inner}


def require_same_used(folder: RunFolder, plan: RecipePlan, recipe: Recipe) -> None:
    """Compare the runs that a begun run uses with what it used when it was begun.

    Raises:
        RunError: one has other weights now.
    """
    before = used_before(folder)
    names = names_of(plan.sections)
    for one in taken_in(plan.sections):
        name = names[one.identity]
        there = RunFolder(folder_of(one, recipe))
        known = before.get(name)
        now = fingerprint(there)
        if not isinstance(known, dict) or all(known.get(k) == now.get(k) for k in ("weights", USED)):
            continue
        raise RunError(
            f"{there.path} has other weights than when {folder.path} was begun with it; put the old ones "
            f"back, go on with the copy that was kept ({folder.going_on()}), or choose another folder "
            "with --out"
        )


def used_before(folder: RunFolder) -> dict[str, Any]:
    """What ``environment.json`` says of the runs that a run used: name -> hashes."""
    if not folder.environment.is_file():
        return {}
    value = read_json(folder.environment).get(USED, {})
    return value if isinstance(value, dict) else {}


def _frozen(assembly: Assembly, folder: RunFolder | None) -> _Opened:
    trainable = frozenset(id(p) for p in assembly.flow.parameters() if p.requires_grad)
    for parameter in assembly.flow.parameters():
        parameter.requires_grad_(False)
    assembly.flow.eval()
    keep_elsewhere(assembly.flow)
    return _Opened(assembly, trainable, folder)


def _thawed(module: nn.Module, trainable: frozenset[int]) -> nn.Module:
    """A copy to train on; what was no parameter of training in its own run stays so."""
    own = copy.deepcopy(module) if not isinstance(module, Trained) else _again(module)
    pairs = list(zip(module.parameters(), own.parameters(), strict=True))
    some = any(id(old) in trainable for old, _ in pairs)
    for old, new in pairs:
        new.requires_grad_(not some or id(old) in trainable)
    return own


def _again(trained: Trained) -> Trained:
    flow = copy.deepcopy(trained.flow)
    return Trained(flow, trained.data_spec, trained.data, frozen=False, name=trained.name)


def _meeting(codec: Codec, spec: Spec, plan: RunPlan) -> Codec:
    """A codec on the data of this recipe: states must be those it knows, conditions may be others.

    Raises:
        ConfigError: it encodes other data.
    """

    def states(one: Spec) -> dict[str, Any]:
        return {k: v for k, v in spec_as_json(one).items() if k not in ("conditions", "limits")}

    if states(codec.data_spec) != states(spec):
        message = (
            f"the codec of run {plan.reference!r} is of other data: states of shape "
            f"{codec.data_spec.event_shape()} there, {spec.event_shape()} here"
        )
        raise ConfigError([plan.at.problem(plan.path, message)])
    if codec.data_spec.conditions == spec.conditions:
        return codec
    own = copy.copy(codec)
    keep_elsewhere(own)
    own.data_spec = replace(codec.data_spec, conditions=spec.conditions)
    if own.spec.conditions != spec.conditions:
        message = f"the codec of run {plan.reference!r} was made for other conditions than this data has"
        raise ConfigError([plan.at.problem(plan.path, message)])
    return own


class _Copies:
    """Copies of runs in one folder, side by side: a run that several used is there once.

    Args:
        home: of all copies.
        named: runs by the names that are theirs.
    """

    def __init__(self, home: Path, named: Mapping[str, _Opened]) -> None:
        self.home, self.named = home, named
        self.hashes: dict[str, dict[str, str]] = {}

    def lay(self, name: str, opened: _Opened) -> None:
        """Copy a run, and before it what it used: recipe, its files named as seen from there, weights."""
        if name in self.hashes:
            return
        assert opened.folder is not None
        self.hashes[name] = fingerprint(opened.folder)
        origin, target = opened.folder, RunFolder(self.home / name)
        if origin.path.resolve() == target.path.resolve():
            return
        used = {}
        for one in taken_in(opened.assembly.built.plan.sections):
            if one.identity not in used:
                inner = opened.assembly.runs.opened(one)
                beside = self._name_of(one.name, inner)
                self.lay(beside, self.named.get(beside, inner))
                used[one.identity] = f"../{beside}"
        write_text(target.recipe, opened.assembly.built.resolved(target.path, used))
        if origin.data.is_file():
            write_bytes(target.data, origin.data.read_bytes())
        _lay(origin.trained_weights(), target.weights)
        write_text(target.path / "original.json", json.dumps(self.hashes[name], indent=2) + "\n")
        target.set_status("finished", origin.status()["step"])

    def _name_of(self, wanted: str, opened: _Opened) -> str:
        """What a run that was used on the way is called here: as it was, or with a number."""
        assert opened.folder is not None
        mine, count, name = fingerprint(opened.folder), 2, wanted
        while self._hashes_of(name) not in (None, mine):
            name, count = f"{wanted}-{count}", count + 1
        return name

    def _hashes_of(self, name: str) -> dict[str, str] | None:
        if name not in self.hashes and name in self.named:
            folder = self.named[name].folder
            assert folder is not None
            return fingerprint(folder)
        return self.hashes.get(name)


def _lay(origin: str | Path, target: str | Path) -> None:
    """The same file in another place; no bytes are copied where the disk can hold one under two names.

    Files of runs are never written in place, so the other name keeps what it has.
    """
    partial = Path(target).with_name(f".{Path(target).name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        os.link(origin, partial)
    except OSError:
        shutil.copyfile(origin, partial)
    partial.replace(target)
