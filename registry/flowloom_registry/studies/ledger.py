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
from flowloom_registry.studies.systems import System, system_of_paper, systems
from flowloom_registry.studies.verify import Decided, digests, figures

_HEAD = """# Systems

*Made by `flowloom verify`, which decides the claims of recipes; figures are those of its last call for each,
kept in `{file}`. A claim whose recipe was changed since is open again.*

"""


def write_ledger(page: Path, decided: Sequence[Decided], claims: Sequence[Claim], catalog: Catalog) -> None:
    """Add verdicts to those that were kept, and write the page of all systems anew.

    Args:
        page: the page; verdicts lie beside it in a JSON file of the same name.
        decided: new verdicts.
        claims: of everything installed, for rows that are open.
        catalog: for the recipes of every system.

    Raises:
        RunError: the file of verdicts is damaged, or nothing can be written.
    """
    file = page.with_suffix(".json")
    kept = _kept(file)
    for one in decided:
        kept[_key(one.claim)] = _told(one)
    now = dict(zip(map(_key, claims), digests(claims, catalog), strict=True))
    kept = {key: value for key, value in kept.items() if now.get(key) == value["digest"]}
    write_text(file, json.dumps({"format": 1, "verdicts": kept}, indent=2) + "\n")
    write_text(page, _page(file.name, claims, kept, catalog))


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
    }


def _page(file: str, claims: Sequence[Claim], kept: Mapping[str, Mapping[str, Any]], catalog: Catalog) -> str:
    rows = [_row(system, claims, kept, catalog) for system in systems().values()]
    answers = [value["answer"] for value in kept.values()]
    counts = ", ".join(f"{answers.count(word)} {word}" for word in dict.fromkeys(sorted(answers)))
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
