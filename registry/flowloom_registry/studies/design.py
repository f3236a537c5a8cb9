"""Reading the file of an experiment: arms and a grid over recipes, and the cells that they make.

Everything is a layer of a recipe: the base, the values of the grid, the arms, and what is said of every cell,
in this order from the bottom to the top. A layer may besides say

* ``recipe``: a recipe to begin anew with, whatever lies below;
* ``extends``: recipes, or parts, that are laid over what lies below, under the layer's own sections;
* ``needs``: plugins without which its cells are "not installed" and not a mistake;
* ``trains``: the arm whose weights it is asked with;
* ``by``: the metric to look at first.

A named value of the grid may also say what single ``arms`` are there; that lies over the arm itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowloom.errors import FlowloomError
from flowloom_registry.config.merge import merge
from flowloom_registry.config.nodes import Entry, ListNode, MapNode, Node, Position, ScalarNode, given, plain
from flowloom_registry.config.recipe import locate, no_folder
from flowloom_registry.config.yaml import read
from flowloom_registry.errors import ConfigError, Problem
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.studies.cells import ARM, Cell, folder_name, overwriting, word_of

KEYS = ("name", "summary", "recipe", "grid", "arms", "every", "seeds", "small")
OWN = ("recipe", "needs", "trains", "by")
"""What an arm says besides sections; ``extends`` is read with them."""
EVERY = ("recipe", "needs", "by")
"""What any other layer says besides."""
MET = ("needs", "by")
"""What it says where a value of the grid and an arm meet."""
ARMS = "arms"


@dataclass(frozen=True)
class Design:
    """An experiment that was read.

    Args:
        name: its own, else that of its row or file.
        summary: one line about it.
        file: where it was read.
        axes: names of the axes, in the order of the cells' labels.
        cells: all of them, the first seed first.
    """

    name: str
    summary: str
    file: str
    axes: Sequence[str]
    cells: Sequence[Cell]


@dataclass(frozen=True)
class _Layer:
    sections: MapNode
    at: Position
    recipe: Node | None = None
    needs: tuple[str, ...] = ()
    trains: ScalarNode | None = None
    by: str = ""
    arms: Mapping[str, _Layer] = field(default_factory=dict)


_Axis = dict[str, _Layer]


def read_design(
    reference: str | Path,
    *,
    catalog: Catalog,
    small: bool = False,
    overrides: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
) -> Design:
    """Read an experiment; its recipes are read when a cell is asked for its own.

    Args:
        reference: a YAML file, or the name of an experiment that a plugin ships.
        catalog: where names are looked up.
        small: lay its section ``small`` over it.
        overrides: ``a.b=value`` texts over the recipe of every cell.
        seeds: in place of its own.

    Raises:
        ConfigError: everything that is wrong with the file.
        UnknownComponentError: no experiment has that name and no file is there.
    """
    name, file, text, shipped = locate(str(reference), Path(), catalog.find_experiment)
    document = read(text, file, shipped=shipped)
    reading = _Reading(catalog, list(document.problems))
    root = reading.mapping(document.root, "", "a mapping")
    if root is None:
        raise ConfigError(reading.problems)
    smaller = reading.mapping(root.get("small"), "small", "a mapping of what is other in the small form")
    if reading.problems and small:
        raise ConfigError(reading.problems)
    if small and smaller is None:
        raise ConfigError([root.at.problem("small", "the experiment has no section 'small'")])
    # What is left out of the small form, or is there alone, may be named in either.
    layers = (_under(layer, [ARMS]) for layer in (root, smaller))
    found = (str(name) for arms in layers if arms is not None for name in arms.entries)
    reading.arms = list(dict.fromkeys(found))
    if small and smaller is not None:
        root = _laid_over(root, smaller, reading.problems)
    if not {ARMS, "grid"} & set(root.entries) and {"model", "stages"} & set(root.entries):
        message = f"this is a recipe and no experiment; carry it out with: flowloom run {reference}"
        raise ConfigError([root.at.problem("", message)])
    reading.known_keys(root, KEYS, "an experiment")
    axes, base, every = reading.axes(root), reading.base(root), reading.layer_at(root, "every")
    own = reading.seeds(root)
    told = {key: reading.text(root, key) for key in ("name", "summary")}
    called = root.get("name")
    if isinstance(called, ScalarNode) and told["name"]:
        reading.problems += no_folder(called)
    cells = reading.cells(axes, base, every, own if seeds is None else seeds, overrides)
    reading.problems += overwriting(cells)
    if reading.problems:
        raise ConfigError(dict.fromkeys(reading.problems))
    whole = told["name"] or name
    return Design(f"{whole}-small" if small else whole, told["summary"], file, tuple(axes), cells)


def _laid_over(root: MapNode, small: Node, problems: list[Problem]) -> MapNode:
    """The file with ``small`` over it; arms and points of the grid that are null there are left out."""
    merged = merge(MapNode({k: v for k, v in root.entries.items() if k != "small"}, root.at), small)
    if not isinstance(merged, MapNode) or not isinstance(small, MapNode):
        return root
    grid = small.get("grid")
    axes = [("arms",), *(("grid", str(key)) for key in (grid.entries if isinstance(grid, MapNode) else ()))]
    for path in axes:
        whole, said, kept = _under(root, path), _under(small, path), _under(merged, path)
        if said is None or kept is None:
            continue
        out = {
            k
            for k, one in said.entries.items()
            if isinstance(one.node, ScalarNode) and one.node.value is None
        }
        for name in out:
            if whole is None or name not in whole.entries:
                known = [str(key) for key in whole.entries] if whole is not None else []
                at, hint = said.entries[name].key_at, did_you_mean(str(name), known)
                where = ".".join(("small", *path, str(name)))
                problems.append(at.problem(where, f"nothing is named {name!r} that could be left out", hint))
            assert isinstance(kept.entries, dict)
            del kept.entries[name]
    return merged


def _under(node: Node | None, path: Sequence[str]) -> MapNode | None:
    for key in path:
        node = node.get(key) if isinstance(node, MapNode) else None
    return node if isinstance(node, MapNode) else None


class _Reading:
    """Collects every problem of one file."""

    def __init__(self, catalog: Catalog, problems: list[Problem]) -> None:
        self.catalog, self.problems = catalog, problems
        self.read: dict[str, Any] = {}
        self.arms: list[str] = []

    def refuse(self, node: Node, path: str, expected: str) -> None:
        self.problems.append(node.at.problem(path, f"expected {expected}, got {given(node)}"))

    def mapping(self, node: Node | None, path: str, expected: str) -> MapNode | None:
        if isinstance(node, MapNode):
            return node
        if node is not None:
            self.refuse(node, path, expected)
        return None

    def text(self, root: MapNode, key: str) -> str:
        node = root.get(key)
        if node is None or (isinstance(node, ScalarNode) and isinstance(node.value, str)):
            return str(node.value) if isinstance(node, ScalarNode) else ""
        self.refuse(node, key, "a text")
        return ""

    def known_keys(self, root: MapNode, known: Sequence[str], what: str) -> None:
        for key, entry in root.entries.items():
            if key not in known:
                sections = key in self.catalog.sections
                hint = "write it under 'every:', for all cells" if sections else did_you_mean(str(key), known)
                message = f"{what} has no key {key!r}"
                listed = f"keys: {', '.join(known)}"
                self.problems.append(entry.key_at.problem(str(key), message, join_hints(hint, listed)))

    def seeds(self, root: MapNode) -> list[int]:
        node = root.get("seeds")
        if node is None:
            return [0]
        items = node.items if isinstance(node, ListNode) else ()
        values = [item.value for item in items if isinstance(item, ScalarNode)]
        found = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]
        if not found or len(found) != len(items):
            self.refuse(node, "seeds", "a list of whole numbers such as [0, 1, 2]")
        twice = sorted({seed for seed in found if found.count(seed) > 1})
        if twice:
            self.problems.append(node.at.problem("seeds", f"{twice[0]} stands there twice"))
        return list(dict.fromkeys(found)) or [0]

    def base(self, root: MapNode) -> _Layer:
        node = root.get("recipe")
        return _Layer(MapNode({}, root.at), root.at, recipe=node)

    def layer_at(self, root: MapNode, key: str) -> _Layer | None:
        node = root.get(key)
        return self.layer(node, key, EVERY) if node is not None else None

    def axes(self, root: MapNode) -> dict[str, _Axis]:
        """Arms, then the axes of the grid, in the order of the labels."""
        axes: dict[str, _Axis] = {}
        arms = self.mapping(root.get("arms"), "arms", "a mapping of names to what they change")
        if arms is not None:
            axes[ARM] = self.named(arms, "arms")
        grid = self.mapping(root.get("grid"), "grid", "a mapping of recipe keys to lists of values")
        for key, entry in grid.entries.items() if grid is not None else ():
            path = f"grid.{key}"
            if key in (ARM, "seed", "seeds"):
                hint = "write 'arms:'" if key == ARM else "write 'seeds: [0, 1, 2]' beside it"
                self.problems.append(entry.key_at.problem(path, f"{key!r} is no axis of the grid", hint))
            elif isinstance(entry.node, MapNode):
                axes[str(key)] = self.named(entry.node, path, (*EVERY, ARMS))
            elif isinstance(entry.node, ListNode) and entry.node.items:
                axes[str(key)] = self.values(str(key), entry, path)
            else:
                self.refuse(entry.node, path, "a list of values, or a mapping of names to what they change")
        if not axes and not self.problems:
            self.problems.append(
                root.at.problem("", "an experiment compares something; add 'arms:' or 'grid:'")
            )
        return axes

    def named(self, node: MapNode, path: str, words: Sequence[str] = OWN) -> _Axis:
        if not node.entries:
            self.refuse(node, path, "at least one name")
        return {str(k): self.layer(one.node, f"{path}.{k}", words) for k, one in node.entries.items()}

    def met(self, node: Node | None, path: str) -> _Axis:
        """What single arms are at a value of the grid."""
        arms = self.mapping(node, path, "a mapping of arms to what they change there")
        for name, entry in arms.entries.items() if arms is not None else ():
            if str(name) not in self.arms:
                hint = join_hints(did_you_mean(str(name), self.arms), f"arms: {', '.join(self.arms)}")
                self.problems.append(
                    entry.key_at.problem(f"{path}.{name}", f"no arm is named {name!r}", hint)
                )
        return self.named(arms, path, MET) if arms is not None else {}

    def values(self, key: str, entry: Entry, path: str) -> _Axis:
        """An axis of values of one key of the recipe, ``train.lr`` say."""
        found: _Axis = {}
        assert isinstance(entry.node, ListNode)
        for i, item in enumerate(entry.node.items):
            sections: Node = item
            for word in reversed(key.split(".")):  # a mistake in the key is one, however many values it has
                sections = MapNode({word: Entry(entry.key_at, sections)}, item.at)
            assert isinstance(sections, MapNode)
            word = word_of(item)
            if word in found:
                self.problems.append(item.at.problem(f"{path}[{i}]", f"{word!r} stands there twice"))
            found[word] = _Layer(sections, item.at)
        return found

    def layer(self, node: Node, path: str, words: Sequence[str] = OWN) -> _Layer:
        if isinstance(node, ScalarNode) and node.value is None:
            return _Layer(MapNode({}, node.at), node.at)
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            return _Layer(MapNode({"extends": Entry(node.at, node)}, node.at), node.at)
        if not isinstance(node, MapNode):
            self.refuse(node, path, "a recipe's name, or a mapping of sections")
            return _Layer(MapNode({}, node.at), node.at)
        own = {key: node.get(key) if key in words else None for key in (*OWN, ARMS)}
        sections = MapNode({k: v for k, v in node.entries.items() if k not in words}, node.at)
        known = (*self.catalog.sections, *words)
        for key, entry in sections.entries.items():
            if key not in self.catalog.sections:
                hint = join_hints(
                    did_you_mean(str(key), known), f"a layer has sections, and {', '.join(words)}"
                )
                message = f"a recipe has no section {key!r}"
                self.problems.append(entry.key_at.problem(f"{path}.{key}", message, hint))
        if "seed" in sections.entries:
            at, hint = sections.entries["seed"].key_at, "write 'seeds: [0, 1, 2]' beside the arms"
            self.problems.append(at.problem(f"{path}.seed", "the seeds are those of all cells", hint))
        told = {key: self.word(own[key], f"{path}.{key}") for key in ("trains", "by")}
        trains = own["trains"] if told["trains"] else None
        return _Layer(
            sections,
            node.at,
            own["recipe"],
            self.words(own["needs"], f"{path}.needs"),
            trains if isinstance(trains, ScalarNode) else None,
            told["by"],
            self.met(own[ARMS], f"{path}.{ARMS}"),
        )

    def word(self, node: Node | None, path: str) -> str:
        if node is None:
            return ""
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            return node.value
        self.refuse(node, path, "one word")
        return ""

    def words(self, node: Node | None, path: str) -> tuple[str, ...]:
        if node is None:
            return ()
        found = plain(node) if isinstance(node, ListNode) else [plain(node)]
        if not all(isinstance(word, str) for word in found):
            self.refuse(node, path, "a plugin's name, or a list of them")
            return ()
        return tuple(found)

    def cells(
        self,
        axes: dict[str, _Axis],
        base: _Layer,
        every: _Layer | None,
        seeds: Sequence[int],
        overrides: Sequence[str],
    ) -> list[Cell]:
        found = []
        for seed in seeds:
            for names in itertools.product(*axes.values()):
                labels = dict(zip(axes, names, strict=True))
                found.append(self.cell(axes, labels, seed, base, every, overrides))
        return found

    def cell(
        self,
        axes: dict[str, _Axis],
        labels: Mapping[str, str],
        seed: int,
        base: _Layer,
        every: _Layer | None,
        overrides: Sequence[str],
    ) -> Cell:
        arm = axes[ARM][labels[ARM]] if ARM in axes else None
        grid = [axes[axis][name] for axis, name in labels.items() if axis != ARM]

        def whole(name: str) -> list[_Layer]:
            """An arm, and what it is at these values of the grid."""
            return [axes[ARM][name], *(layer.arms[name] for layer in grid if name in layer.arms)]

        own = whole(labels[ARM]) if arm else []
        trained = self.trained(axes, labels, own)
        stacked = [base, *grid, *(whole(trained) if trained else []), *own, *([every] if every else [])]
        installed = {plugin.name for plugin in self.catalog.plugins}
        needs = dict.fromkeys(need for layer in stacked for need in layer.needs)
        innermost = arm or (grid[-1] if grid else base)
        return Cell(
            name=_name(labels, seed),
            labels=labels,
            seed=seed,
            layers=tuple(_flat(stacked)),
            catalog=self.catalog,
            at=innermost.at,
            overrides=tuple(overrides),
            trains=_name({**labels, ARM: trained}, seed) if trained else "",
            by=next((layer.by for layer in reversed(stacked) if layer.by), ""),
            lacking=tuple(need for need in needs if need not in installed),
            read=self.read,
        )

    def trained(self, axes: dict[str, _Axis], labels: Mapping[str, str], own: Sequence[_Layer]) -> str:
        """The arm whose weights an arm is asked with, empty where it has its own."""
        arm = own[0] if own else None
        if arm is None or arm.trains is None:
            return ""
        name, path = str(arm.trains.value), f"arms.{labels[ARM]}.trains"
        others = [key for key, layer in axes[ARM].items() if layer.trains is None]
        if name not in others:
            hint = join_hints(did_you_mean(name, others), f"arms that are trained: {', '.join(others)}")
            self.problems.append(
                arm.trains.at.problem(path, f"no arm that is trained is named {name!r}", hint)
            )
            return ""
        apart = {
            section: entry.key_at
            for layer in own
            for section, entry in layer.sections.entries.items()
            if section in self.catalog.sections and not self.catalog.sections[section].judges
        }
        for section, at in apart.items():
            message = f"training depends on section {section!r}, and the weights are those of {name!r}"
            self.problems.append(at.problem(path, message, "leave 'trains:' out to train it anew"))
        return name


def _flat(layers: Sequence[_Layer]) -> Iterator[MapNode]:
    """Sections from the bottom to the top, from the last layer on that begins anew."""
    start = max((i for i, layer in enumerate(layers) if layer.recipe is not None), default=0)
    for layer in layers[start:]:
        if layer.recipe is not None:
            yield MapNode({"extends": Entry(layer.recipe.at, layer.recipe)}, layer.recipe.at)
        yield layer.sections


def _name(labels: Mapping[str, str], seed: int) -> str:
    return folder_name([*labels.values(), f"seed{seed}"])


def require_cell(cells: Sequence[Cell], name: str) -> Cell:
    """The cell of that name.

    Raises:
        FlowloomError: there is none.
    """
    for cell in cells:
        if cell.name == name:
            return cell
    raise FlowloomError(f"there is no cell {name!r}")
