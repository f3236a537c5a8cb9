"""Loading a recipe: from a file or a plugin, with what it extends and what was overridden."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from flowloom.errors import MissingDependencyError
from flowloom_registry.config.merge import merge_sections
from flowloom_registry.config.nodes import Entry, ListNode, MapNode, Node, Position, ScalarNode, given, plain
from flowloom_registry.config.overrides import apply_override
from flowloom_registry.config.stage import STAGES, Stage
from flowloom_registry.config.yaml import read
from flowloom_registry.errors import ConfigError, Problem, UnknownComponentError, one_line
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.plugins.rows import ExperimentRow, RecipeRow

_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*")
_OF_A_RUN = ("status.json", "evaluation.json", "flow.safetensors", "stages.yaml")
_OF_AN_EXPERIMENT, _OF_A_RECIPE = {"arms", "grid"}, {"model", STAGES}
_LARGEST = 4 * 2**20
"""Bytes of a recipe: a hundred times more than anybody writes."""

_Chain = tuple[str, str, MapNode]


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read and not yet checked.

    Args:
        name: its own name, else that of its row or file.
        file: the file it was read from, as shown in messages.
        tree: its sections, with ``extends`` and overrides applied.
        catalog: where its components are looked up.
        problems: what was wrong so far; `flowloom_registry.config.check.check` raises them with its own.
        trusted: whether it may name code that no installed plugin lists.
        trusts_runs: whether the runs that it takes parts of may do so.
        stage: where it stands, where it is one stage of a recipe.
    """

    name: str
    file: str
    tree: MapNode
    catalog: Catalog
    problems: tuple[Problem, ...] = field(default=())
    trusted: bool = True
    trusts_runs: bool = False
    stage: Stage | None = None

    def text(self, section: str) -> str:
        """A text section, empty where it is left out."""
        node = self.tree.get(section)
        return node.value if isinstance(node, ScalarNode) and isinstance(node.value, str) else ""

    @property
    def summary(self) -> str:
        """One line about it."""
        return self.text("summary")

    @property
    def paper(self) -> str:
        """ArXiv id of its paper, or empty."""
        return self.text("paper")


def load_recipe(
    reference: str | Path,
    *,
    layers: Iterable[str | Path] = (),
    overrides: Iterable[str] = (),
    catalog: Catalog | None = None,
    trusted: bool | None = None,
    trusts_runs: bool = False,
) -> Recipe:
    """Read a recipe with everything it extends.

    Args:
        reference: a YAML file, or the name of a recipe that a plugin ships (``name`` or ``plugin:name``).
        layers: recipes, or parts of one, that are laid over it in order, as if a recipe extended them all.
        overrides: ``a.b=value`` texts, applied in order.
        catalog: where names are looked up; everything installed when None.
        trusted: whether ``use: package.module:name`` and ``use: ./file.py:name`` are followed. They run code
            of the recipe author's choosing, so say False for a recipe from somebody else; names that
            installed plugins list always work. Where None, a file is trusted unless it, or one that it
            extends or that is laid over it, lies in a run folder, however its path is spelled.
        trusts_runs: the same of the run folders that the recipe takes parts of.

    Raises:
        ConfigError: a file cannot be read or is no YAML, or recipes extend each other in a circle.
        UnknownComponentError: no recipe has that name and no file is there.
    """
    if catalog is None:
        from flowloom_registry.plugins.discovery import catalog as installed

        catalog = installed()
    problems: list[Problem] = []
    done: dict[str, _Chain] = {}
    name, file, tree = _read_chain(str(reference), Path(), catalog, problems, (), done)
    defaults = {section.name: section.default for section in catalog.sections.values()}
    for layer in layers:
        layer_name, _, above = _read_chain(str(layer), Path(), catalog, problems, (), done)
        tree = merge_sections(tree, _handed_down(above, catalog), defaults)
        name = f"{name}-{layer_name}"
    for override in overrides:
        try:
            tree = apply_override(tree, override, defaults)
        except ConfigError as error:
            problems.extend(error.problems)
    own = tree.get("name")
    if isinstance(own, ScalarNode) and isinstance(own.value, str) and own.value:
        name = own.value
        problems += no_folder(own)
    if trusted is None:
        trusted = not any(_of_a_run(Path(one)) for one in done)
    return Recipe(name, file, tree, catalog, tuple(problems), trusted, trusts_runs)


def no_folder(name: ScalarNode) -> list[Problem]:
    """What is wrong with a name as that of a folder, which runs and studies get."""
    if _NAME.fullmatch(str(name.value)):
        return []
    message = f"{name.value!r} names no folder: it may hold no slash, and begin with no dot"
    return [name.at.problem("name", message)]


def _of_a_run(file: Path) -> bool:
    """Whether a recipe lies among the files of a run, which may be anybody's."""
    return any((file.parent / name).exists() for name in _OF_A_RUN)


def stack(
    layers: Iterable[MapNode],
    *,
    name: str,
    file: str,
    catalog: Catalog,
    overrides: Iterable[str] = (),
    done: dict[str, _Chain] | None = None,
) -> Recipe:
    """A recipe of layers that were read already, each laid over the ones before, as ``--with`` does.

    What a layer ``extends`` is laid over the layers before it, and the layer itself over that.

    Args:
        layers: sections, and perhaps ``extends``, from the bottom to the top.
        name: of the recipe.
        file: the file that the layers are of, as shown in messages.
        catalog: where names are looked up.
        overrides: ``a.b=value`` texts, applied in order.
        done: files that were read before, for many stacks of the same ones.

    Raises:
        ConfigError: what a layer extends cannot be read, or there is none of that name.
    """
    problems: list[Problem] = []
    done = {} if done is None else done
    defaults = {section.name: section.default for section in catalog.sections.values()}
    tree = MapNode({}, Position(file, 1, 1))
    for layer in layers:
        bases = layer.get("extends")
        for base in _bases(bases) if bases is not None else ():
            tree = merge_sections(
                tree, _handed_down(_read_base(base, catalog, problems, (), done), catalog), defaults
            )
        own = MapNode({key: entry for key, entry in layer.entries.items() if key != "extends"}, layer.at)
        tree = merge_sections(tree, own, defaults)
    for override in overrides:
        try:
            tree = apply_override(tree, override, defaults)
        except ConfigError as error:
            problems.extend(error.problems)
    return Recipe(name, file, tree, catalog, tuple(problems))


def recipe_text(row: RecipeRow | ExperimentRow) -> tuple[str, bytes]:
    """The file name and bytes of a recipe, or an experiment, that a plugin ships.

    Raises:
        MissingDependencyError: the plugin's package cannot be imported.
        UnknownComponentError: the plugin ships no such file.
    """
    package, _, inside = row.target.partition(":")
    try:
        resource = files(package).joinpath(inside)
        return str(resource), resource.read_bytes()
    except ImportError as error:
        raise MissingDependencyError(
            f"{row.kind} {row.qualified}: package {package!r} cannot be imported"
        ) from error
    except OSError as error:
        raise UnknownComponentError(
            f"{row.kind} {row.qualified}: there is no file {inside!r} in {package!r}"
        ) from error


def _read_chain(
    reference: str,
    folder: Path,
    catalog: Catalog,
    problems: list[Problem],
    seen: tuple[str, ...],
    done: dict[str, _Chain],
) -> _Chain:
    """Name, file and sections of a recipe, with what it extends; each file is read once (``done``)."""
    name, file, text, shipped = locate(reference, folder, catalog.find_recipe)
    identity = str(Path(file).resolve())
    if identity in seen:
        circle = " -> ".join(Path(one).name for one in (*seen, identity))
        raise ConfigError(
            [Problem(file, 1, 1, "extends", f"recipes extend each other in a circle: {circle}")]
        )
    if identity in done:
        return done[identity]
    document = read(text, file, shipped=shipped)
    problems.extend(document.problems)
    tree = document.root
    if not isinstance(tree, MapNode):
        hint = "write 'key: value' with a space after ':'" if ":" in str(plain(tree)) else ""
        raise ConfigError([tree.at.problem("", f"expected a mapping of sections, got {given(tree)}", hint)])
    if _OF_AN_EXPERIMENT & set(tree.entries) - set(catalog.sections) and not _OF_A_RECIPE & set(tree.entries):
        message = f"this is an experiment and no recipe; carry it out with: flowloom experiment {reference}"
        raise ConfigError([tree.at.problem("", message)])
    tree = _with_bases_of_stages(tree, catalog, problems, (*seen, identity), done)
    base_node = tree.get("extends")
    if base_node is None or (isinstance(base_node, ScalarNode) and base_node.value is None):
        done[identity] = name, file, tree
        return done[identity]
    defaults = {section.name: section.default for section in catalog.sections.values()}
    below = MapNode({}, tree.at)
    for base in _bases(base_node):
        read_in = _read_base(base, catalog, problems, (*seen, identity), done)
        below = merge_sections(below, _handed_down(read_in, catalog), defaults)
    done[identity] = name, file, merge_sections(below, tree, defaults)
    return done[identity]


def _with_bases_of_stages(
    tree: MapNode, catalog: Catalog, problems: list[Problem], seen: tuple[str, ...], done: dict[str, _Chain]
) -> MapNode:
    """The same sections, with what each stage extends laid under it."""
    stages = tree.entries.get(STAGES)
    if stages is None or not isinstance(stages.node, ListNode):
        return tree
    defaults = {section.name: section.default for section in catalog.sections.values()}
    found: list[Node] = []
    for stage in stages.node.items:
        bases = stage.get("extends") if isinstance(stage, MapNode) else None
        if bases is None or not isinstance(stage, MapNode):
            found.append(stage)
            continue
        below = MapNode({}, stage.at)
        for base in _bases(bases):
            read_in = _handed_down(_read_base(base, catalog, problems, seen, done), catalog)
            if STAGES in read_in.entries:
                message = f"{plain(base)!r} has stages of its own; a stage extends a recipe without"
                raise ConfigError([base.at.problem("extends", message)])
            below = merge_sections(below, read_in, defaults)
        # The seed is that of all stages: another one changes every stage.
        kept = {key: entry for key, entry in below.entries.items() if key != "seed"}
        own = {key: entry for key, entry in stage.entries.items() if key != "extends"}
        found.append(merge_sections(MapNode(kept, stage.at), MapNode(own, stage.at), defaults))
    node = ListNode(tuple(found), stages.node.at)
    return MapNode({**tree.entries, STAGES: Entry(stages.key_at, node)}, tree.at)


def _bases(node: Node) -> Sequence[Node]:
    """The recipes that ``extends`` names, one or a list; later ones are laid over earlier ones."""
    bases = node.items if isinstance(node, ListNode) and node.items else [node]
    for base in bases:
        if not (isinstance(base, ScalarNode) and isinstance(base.value, str)):
            message = f"expected a recipe (file or name) or a list of them, got {given(base)}"
            raise ConfigError([base.at.problem("extends", message)])
    return bases


def _handed_down(base: MapNode, catalog: Catalog) -> MapNode:
    kept = {
        key: entry
        for key, entry in base.entries.items()
        if key not in catalog.sections or catalog.sections[key].inherited
    }
    return MapNode(kept, base.at)


def _read_base(
    node: Node, catalog: Catalog, problems: list[Problem], seen: tuple[str, ...], done: dict[str, _Chain]
) -> MapNode:
    assert isinstance(node, ScalarNode)
    try:
        return _read_chain(str(node.value), node.at.folder, catalog, problems, seen, done)[2]
    except (UnknownComponentError, _UnreadableError) as error:
        raise ConfigError([node.at.problem("extends", str(error))]) from error


def locate(
    reference: str, folder: Path, find: Callable[[str], RecipeRow | ExperimentRow]
) -> tuple[str, str, bytes, bool]:
    """Name, file name and bytes of a recipe or an experiment, and whether a plugin ships it.

    Args:
        reference: a YAML file, or a name that ``find`` knows.
        folder: that files are relative to.
        find: the row of that name.

    Raises:
        ConfigError: the file cannot be read.
        UnknownComponentError: no row has that name and no file is there.
    """
    path = folder / reference
    if reference.endswith((".yaml", ".yml")) or "/" in reference or "\\" in reference:
        return path.stem, str(path), _read_file(path), False
    try:
        row = find(reference)
    except UnknownComponentError:
        with suppress(OSError, ValueError):  # a name that cannot be one
            if path.is_file() or _told_of(path):
                return path.stem, str(path), _read_file(path), False
        raise
    file, text = recipe_text(row)
    return row.name, file, text, True


def _told_of(folder: Path) -> str:
    """What to name in place of the folder of a run, or of an experiment; empty for any other."""
    if (folder / "study.json").is_file():
        return f" of an experiment; its file goes on with it, and 'flowloom compare {folder}' shows it"
    recipes = (folder / name for name in ("recipe.yaml", "stages.yaml"))
    inside = next((file for file in recipes if file.is_file()), None)
    return f"; its recipe is {inside}" if inside is not None else ""


def _read_file(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise _UnreadableError(path, f"cannot be read: it is a folder{_told_of(path)}")
        # Devices and pipes may never end.
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise _UnreadableError(path, "is no file")
        if path.is_file() and path.stat().st_size > _LARGEST:
            raise _UnreadableError(path, f"is larger than {_LARGEST // 2**20} MiB; this is no recipe")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise _UnreadableError(path, "cannot be read: there is no such file") from error
    except (OSError, ValueError) as error:  # a name that cannot be one
        raise _UnreadableError(path, f"cannot be read: {one_line(error)}") from error


class _UnreadableError(ConfigError):
    """A file that is no recipe; told at the line that asked for it, where one did."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__([Problem(str(path), None, None, "", why)])
