"""The published systems that flowloom is to carry: their ids, titles and papers."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class System:
    """A published system.

    Args:
        id: word by which ``flowloom verify`` finds it.
        title: of its paper.
        paper: arXiv id, empty where there is none.
        year: of the paper, empty where it is not known.
        plugin: where it is, or is planned.
    """

    id: str
    title: str
    paper: str
    year: str
    plugin: str


@cache
def systems() -> dict[str, System]:
    """All of them by id, in the order of their families."""
    text = files("flowloom_registry.studies").joinpath("systems.csv").read_text(encoding="utf-8")
    return {row["id"]: System(**row) for row in csv.DictReader(text.splitlines())}


def system_of_paper(paper: str) -> str:
    """Id of the system of that paper, empty where there is none."""
    return next((one.id for one in systems().values() if paper and one.paper == paper), "")
