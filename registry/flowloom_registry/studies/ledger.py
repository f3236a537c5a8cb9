"""What is decided: verdicts kept beside ``docs/systems.md``, and that page, one row for each system."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowloom.errors import RunError
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.runs.folder import read_json, write_text
from flowloom_registry.studies.claim import Claim
from flowloom_registry.studies.needed import digest_of
from flowloom_registry.studies.systems import System, system_of_paper, systems
from flowloom_registry.studies.verify import Decided, figures

_HEAD = """# Systems

*Made by `flowloom verify`, which decides the claims of recipes; figures are those of its last call for each,
kept in `{file}`. A claim whose recipe was changed since is open again.*

"""

_MANY = {"holds": "hold", "does not hold": "do not hold", "not decided": "are not decided"}


class Ledger:
    """Verdicts that are kept, and the page of all systems.

    Args:
        page: the page; verdicts lie beside it in a JSON file of the same name.
        claims: of everything installed, for rows that are open.
        catalog: for the recipes of every system.

    Raises:
        RunError: the file of verdicts is damaged.
    """

    def __init__(self, page: Path, claims: Sequence[Claim], catalog: Catalog) -> None:
        self.page, self.claims, self.catalog = page, claims, catalog
        self.file = page.with_suffix(".json")
        read: dict[str, Any] = {}
        self._now = {_key(claim): digest_of(claim, catalog, read) for claim in claims}

    def kept(self) -> dict[str, dict[str, Any]]:
        """Verdicts by the words of their claims, but those whose claim was changed since."""
        found = _kept(self.file)
        return {key: value for key, value in found.items() if self._now.get(key) == value["digest"]}

    def open(self, claims: Sequence[Claim]) -> list[Claim]:
        """Those that have no verdict, or none any more."""
        kept = self.kept()
        return [claim for claim in claims if _key(claim) not in kept]

    def keeps(self, claim: Claim) -> bool:
        """Whether its verdict goes on the page: a claim of an installed recipe, not of a file."""
        return _key(claim) in self._now

    def seconds(self) -> dict[str, float]:
        """What runs took the last time, by their names without seeds."""
        return {name: took for one in self.kept().values() for name, took in one.get("seconds", {}).items()}

    def write(self, decided: Sequence[Decided]) -> None:
        """Add verdicts to those that were kept, and write the page anew.

        Raises:
            RunError: nothing can be written.
        """
        kept = self.kept()
        for one in decided:
            if self._now.get(_key(one.claim)) == one.digest:
                kept[_key(one.claim)] = _told(one)
        write_text(self.file, json.dumps({"format": 1, "verdicts": kept}, indent=2) + "\n")
        write_text(self.page, _page(self.file.name, self.claims, kept, self.catalog))


def _kept(file: Path) -> dict[str, dict[str, Any]]:
    if not file.is_file():
        return {}
    verdicts = read_json(file).get("verdicts")
    if not isinstance(verdicts, dict):
        raise RunError(f"{file} is damaged: it holds no verdicts; remove it, and verify again")
    return verdicts


def _key(claim: Claim) -> str:
    return f"{claim.recipe}: {claim.statement}"


def _told(one: Decided) -> dict[str, Any]:
    return {
        "answer": one.verdict.answer,
        "figures": figures(one),
        "of": one.verdict.of,
        "over": one.verdict.over,
        "seeds": one.seeds,
        "date": one.date,
        "digest": one.digest,
        "seconds": dict(one.seconds),
    }


def _page(file: str, claims: Sequence[Claim], kept: Mapping[str, Mapping[str, Any]], catalog: Catalog) -> str:
    rows = [_row(system, claims, kept, catalog) for system in systems().values()]
    answers = [value["answer"] for value in kept.values()]
    counts = ", ".join(f"{answers.count(word)} {many}" for word, many in _MANY.items() if word in answers)
    of = {claim.system for claim in claims if claim.system}
    lines = [
        f"{len(rows)} systems, {len(of)} of them with claims; {len(claims)} claims"
        + (f", of which {counts}" if counts else "")
        + f", {len(claims) - len(answers)} open.\n",
        "| system | paper | plugin | recipe | claim | figures | date |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    return _HEAD.format(file=file) + "\n".join(lines) + "\n"


def _row(
    system: System, claims: Sequence[Claim], kept: Mapping[str, Mapping[str, Any]], catalog: Catalog
) -> str:
    own = [claim for claim in claims if claim.system == system.id]
    there = [row for row in catalog.recipes if row.paper and system_of_paper(row.paper) == system.id]
    recipes = list(dict.fromkeys([*(claim.recipe for claim in own), *(row.qualified for row in there)]))
    plugins = list(dict.fromkeys(name.partition(":")[0] for name in recipes)) or [f"({system.plugin})"]
    paper = f"[{system.paper}](https://arxiv.org/abs/{system.paper})" if system.paper else system.year
    said, told, dates = [], [], []
    for claim in own:
        verdict = kept.get(_key(claim))
        said.append(f"{claim.says + ': ' if claim.says else ''}`{claim.statement}`")
        told.append("open" if verdict is None else f"**{verdict['answer']}**: {verdict['figures']}")
        dates.append("" if verdict is None else str(verdict["date"]))
    cells = [
        f"`{system.id}`: {system.title}",
        paper,
        ", ".join(plugins),
        ", ".join(f"`{name.partition(':')[2] or name}`" for name in recipes),
        "<br>".join(said) or ("no claim yet" if recipes else "open"),
        "<br>".join(told),
        "<br>".join(dates),
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
