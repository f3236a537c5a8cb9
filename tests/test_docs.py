"""Every block of code in the README and the docs runs, as a reader would run it, page by page and in order.

What a page tells a reader to do by hand is done: a block under "Save as `file`" is written there, one under
"Add to `file`" behind it, "write `a` for `b`" changes the file that was saved last, for one block. Training
is shortened, in the same words. A block in a language, or a command, that is not known here fails.
"""

from __future__ import annotations

import functools
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import flowloom as fl
from flowloom.kinds import KINDS
from flowloom_registry import discover, load_recipe
from flowloom_registry.cli import main
from flowloom_registry.config.check import check
from flowloom_registry.config.nodes import plain
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.plugins.sections import SECTIONS

ROOT = Path(__file__).parents[1]
MADE = {"contracts.md"}  # from the docstrings, whose examples are run where they stand
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in MADE)]
DEAR = {"experiments.md", "recipes.md", "scale.md"}  # they carry out some dozens of runs, in minutes
NO_CODE = ("text", "math")  # outputs, trees of files, equations
STEPS = 2
SHORT = {
    "train.steps": STEPS,
    "train.batch": 8,
    "evaluate.n": 12,
    "evaluate.reference": 12,
    "evaluate.sweep_nfe": "[1]",
    "sample.n": 12,
    "validate": "null",
    "scores": "null",
}
"""Recipes are bound as they stand before they are shortened, so that a wrong name of a metric still fails."""


@dataclass(frozen=True)
class Block:
    """A fenced block, and the paragraph before it."""

    line: int
    language: str
    text: str
    before: str


def blocks(page: str) -> list[Block]:
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        before = page[: match.start()].rstrip().rpartition("\n\n")[2]
        found.append(
            Block(page[: match.start()].count("\n") + 1, match[1], match[2], " ".join(before.split()))
        )
    return found


def commands(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Words of every command of a console block, and the lines that it is said to print."""
    words: list[str] | None = None
    printed: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            if words is not None:
                yield words, printed
            words, printed = shlex.split(line[2:], comments=True), []
        else:
            printed.append(line)
    assert words is not None, "a console block without a command"
    yield words, printed


class Reader:
    """Somebody who does what a page says, in an empty folder."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        self.names: dict[str, Any] = {}
        self.saved: Path | None = None
        self.plugins: dict[str, object] = {}

    def do(self, block: Block) -> None:
        assert block.language in ("python", "yaml", "console", *NO_CODE), (
            f"what is a block of {block.language!r}?"
        )
        if block.language in NO_CODE:
            return
        name = re.search(r"([Ss]ave as|[Aa]dd to) `([\w.-]+)`[^`]*$", block.before)
        if name is not None:
            self.saved = self.folder / name[2]
            with self.saved.open("a" if name[1].lower() == "add to" else "w") as file:
                file.write(("\n\n" if name[1].lower() == "add to" else "") + block.text)
            return
        getattr(self, block.language)(block)

    def python(self, block: Block) -> None:
        if "\ndef test_" in block.text:
            test = self.folder / "test_page.py"
            test.write_text(block.text)
            words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
            done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout
            return
        self.names.pop("flowloom_register", None)
        self.forget()
        # Blank lines, so that a traceback names the page's own line.
        exec(compile("\n" * block.line + block.text, "page", "exec"), self.names)
        self._hooks()

    def forget(self) -> None:
        """Every command is a process of its own: files of the page may have changed since."""
        from flowloom_registry.plugins import discovery

        found = discover(extra=self.plugins, strict=True)
        self.monkeypatch.setattr(discovery, "catalog", lambda: found)
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(self.folder)):
                del sys.modules[name]

    def _hooks(self) -> None:
        """Hooks that a block defines are called as flowloom calls them."""
        if "flowloom_register" in self.names:
            module = ModuleType("page")
            module.flowloom_register = self.names["flowloom_register"]  # type: ignore[attr-defined]
            discover(extra={"page": module}, strict=True)
        if "flowloom_step" in self.names:
            self.names["flowloom_step"](None, 1, {"loss": 0.0})

    def yaml(self, block: Block) -> None:
        file = self.folder / f"block-{block.line}.yaml"
        file.write_text(block.text)
        whole = re.search(r"^(data|extends):", block.text, re.MULTILINE)
        self.flowloom("run", *([str(file)] if whole else ["eight-gaussians", "--with", str(file)]))

    def console(self, block: Block) -> None:
        change = re.search(r"[Ww]rite `([^`]+)` for `([^`]+)`[^`]*$", block.before)
        kept = self.saved.read_text() if self.saved is not None else ""
        if change is not None:
            assert self.saved is not None
            assert change[2] in kept
            self.saved.write_text(kept.replace(change[2], change[1]))
        try:
            for words, printed in commands(block.text):
                program = {
                    "flowloom": self.flowloom,
                    "make": self.make,
                    "pip": self.pip,
                    "python": self.script,
                }
                program[words[0]](*words[1:], printed=printed)
        finally:
            if change is not None and self.saved is not None:
                self.saved.write_text(kept)

    def flowloom(self, *words: str, printed: list[str] | tuple[str, ...] = ()) -> None:
        given = list(words)
        self.forget()
        if words[0] == "run" and not printed:
            recipe = self._bound(given)
            if self._reads_files(recipe):
                return
            told = plain(recipe.tree)
            # The metric that needs no judge; others train one, which is tested where they are.
            cheap = "energy-distance" in str(told.get("metrics"))
            short = {**SHORT, "metrics": "[energy-distance]" if cheap else "null"}
            if isinstance(told.get("solver"), dict) and "steps" in told["solver"]:
                short["solver.steps"] = "1"
            given += [word for name, value in short.items() for word in ("--set", f"{name}={value}")]
        if words[0] == "experiment" and not printed:
            few = {name: SHORT[name] for name in ("train.steps", "evaluate.n")} | {"renderer": "null"}
            given += [word for name, value in few.items() for word in ("--set", f"{name}={value}")]
        if words[0] == "verify" and not printed:
            from flowloom_registry.studies.verify import find_claims, require_claims

            # Its claims are there, and their arms and metrics; what they cost to decide is not spent.
            require_claims(find_claims([word for word in words[1:] if word[0] not in "-0123456789"]))
            return
        if words[0] == "task" and not (self.folder / words[1]).exists():
            # The run is of data that need not be here; the task and its options have to be.
            from flowloom_registry.plugins.discovery import catalog

            catalog().load(catalog().find("task", words[2]))
            return
        self.capsys.readouterr()
        code = main(given)
        out, err = self.capsys.readouterr()
        if not printed:
            assert code == 0, err
        told = (out + err).splitlines()
        for line in printed:
            start = line.removesuffix("...") if line.endswith("...") else line
            assert any(one == line or (start != line and one.startswith(start)) for one in told), (line, told)

    def _bound(self, words: list[str]) -> Recipe:
        """The recipe of a command, as it stands: every name and value in it is right."""
        layers = [words[i + 1] for i, word in enumerate(words) if word == "--with"]
        overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        recipe = load_recipe(words[1], layers=layers, overrides=overrides)
        for one in stages_of(recipe):
            check(one)
        return recipe

    def _reads_files(self, recipe: Recipe) -> bool:
        """Whether it reads files that need not be here; then no more is done than to bind it."""
        data = plain(recipe.tree).get("data")
        name = data["use"] if isinstance(data, dict) else str(data)
        row = recipe.catalog.find("dataset", name, folder=self.folder)
        return "files" in row.tags and row.plugin.name != "core"

    def make(self, target: str, *, printed: list[str]) -> None:
        """Targets are there; what they ask of flowloom is asked."""
        lines = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert lines is not None, f"the Makefile has no {target}"
        for line in lines[1].splitlines():
            if line.strip().startswith("$(BIN)/flowloom "):
                self.flowloom(*shlex.split(line)[1:])

    def pip(self, *words: str, printed: list[str]) -> None:
        """What is installed is there; a plugin that the page made is made known."""
        for word in words[1:]:
            if word.startswith("-"):
                continue
            made = self.folder / word / "src"
            here = (ROOT / word / "pyproject.toml").exists()
            known = (ROOT / "plugins" / word.removeprefix("flowloom-")).exists()
            assert here or known or made.exists(), word
            if made.exists():
                self._install(made)

    def _install(self, folder: Path) -> None:
        from importlib import import_module

        self.monkeypatch.syspath_prepend(str(folder))
        package = next(folder.iterdir()).name
        self.plugins[package.removeprefix("flowloom_").replace("_", "-")] = import_module(f"{package}.plugin")

    def script(self, path: str, *_: str, printed: list[str]) -> None:
        assert (ROOT / path).exists(), path


@pytest.fixture
def reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Reader]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    fit = fl.Flow.fit

    @functools.wraps(fit)
    def short(self: fl.Flow, *arguments: Any, **settings: Any) -> Any:
        return fit(self, *arguments, **{**settings, "steps": min(STEPS, settings.get("steps", STEPS))})

    monkeypatch.setattr(fl.Flow, "fit", short)
    made = Reader(tmp_path, monkeypatch, capsys)
    yield made
    made.forget()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name in DEAR else [])
        for page in PAGES
    ],
)
def test_every_block_runs(page: Path, reader: Reader) -> None:
    torch.manual_seed(0)
    for block in blocks(page.read_text()):
        try:
            reader.do(block)
        except BaseException as error:
            raise AssertionError(f"{page.name}:{block.line}: {type(error).__name__}: {error}") from error


def test_no_block_is_missed() -> None:
    for page in PAGES:
        text = page.read_text()
        assert 2 * len(blocks(text)) == len(re.findall(r"^\s*```", text, re.MULTILINE)), page.name


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_names_and_files_in_running_text_exist() -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for name in re.findall(r"`(flowloom\w*(?:\.[A-Za-z]\w*)+)[`(]", text):
            assert resolves(name), f"{page.name}: {name}"
        for file in re.findall(r"`([\w/]+/[\w/]+\.py)`", text):
            assert any(ROOT.glob(f"{top}{file}") for top in ("", "core/flowloom/", "registry/", "**/")), file


def resolves(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def first_cells(page: str) -> set[str]:
    """What stands in code, or alone, in the first column of the tables of a page."""
    cells = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    return {word.strip("` ") for cell in cells for word in cell.split(",")}


def test_the_tables_leave_out_no_kind_and_no_section() -> None:
    assert {kind.name for kind in KINDS} <= first_cells("architecture.md")
    assert {one.name for one in SECTIONS if one.name != "versions"} <= first_cells("recipes.md")


WRONG = {
    "a wrong name in Python": ("```python\nimport flowloom as fl\nfl.solvers.Hoin()\n```\n", "Hoin"),
    "a wrong setting of training": (
        "```python\nimport flowloom as fl\ndata = fl.data.Moons(64)\n"
        "fl.Flow(fl.models.MLP(data.spec, width=4)).fit(data, stps=1000)\n```\n",
        "stps",
    ),
    "a wrong name in a recipe": ("```yaml\nsolver: hoin\n```\n", "hoin"),
    "a wrong key in a recipe": ("```yaml\ndata: moons\nmodel: {use: mlp, widht: 3}\n```\n", "widht"),
    "a wrong command": ("```console\n$ flowloom shw unet\n```\n", "2"),
    "a wrong option": ("```console\n$ flowloom run eight-gaussians --set train.stps=1\n```\n", "stps"),
    "a wrong output": ("```console\n$ flowloom show Layout.zero\nLayout.zeros\n```\n", "zeros"),
    "a wrong target": ("```console\n$ make dmo\n```\n", "dmo"),
    "a recipe of data that are not here": ("```console\n$ flowloom run earth-volcno\n```\n", "volcno"),
    "another program": ("```console\n$ rm -r runs\n```\n", "rm"),
    "another language": ("```sh\nflowloom list\n```\n", "sh"),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_a_page_with_a_mistake_fails(what: str, reader: Reader) -> None:
    text, named = WRONG[what]
    with pytest.raises((Exception, AssertionError), match=named):
        for block in blocks(text):
            reader.do(block)


def test_the_readme_has_the_recipe_of_the_demo() -> None:
    (recipe,) = (block.text for block in blocks((ROOT / "README.md").read_text()) if block.language == "yaml")
    assert recipe == (ROOT / "plugins/images/src/flowloom_images/recipes/digits.yaml").read_text()
