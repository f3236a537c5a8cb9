"""Mutated recipes: whatever a slip of the hand makes of one, its problems are told in lines with places."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from flowloom_registry import catalog, load_recipe
from flowloom_registry.config.check import check
from flowloom_registry.errors import ConfigError

ROUNDS, EACH = 10, 100
_KEY = re.compile(r"^(\s*(?:- )?)([\w-]+)(:.*)$")
_WORDS = (
    *("", "null", "~", "yes", "-1", "0", "1e400", "nan", ".inf", "1e-400", "'", '"', "{", "[", "[]", "{}"),
    *("&a", "*a", "!!python/none", "!!python/object/apply:os.system [echo]", "./no.py:No", "os:system"),
    *("use: use", "{use: }", "{use: mlp, use: mlp}", "{run: nobody}", "{a: {b: {c: {d: e}}}}", "[[[[[[[["),
    *("\t", "ü", "\u2028", "1_000", "0x10", "2026-11-26", "9" * 400),
)


def texts() -> list[tuple[str, str]]:
    """Every shipped recipe as it is written."""
    found = []
    for recipe in catalog().recipes:
        path = Path(load_recipe(recipe.qualified).file)
        if path.is_file():
            found.append((recipe.qualified, path.read_text(encoding="utf-8")))
    return found


def mutated(text: str, draws: random.Random) -> str:
    """One to three slips: a typo, a lost or doubled line, another value, another indentation, a cut file."""
    lines = text.splitlines()
    for _ in range(draws.randint(1, 3)):
        i = draws.randrange(len(lines))
        slip = draws.randrange(8)
        key = _KEY.match(lines[i])
        if slip == 0:
            lines.pop(i)
        elif slip == 1:
            lines.insert(i, lines[i])
        elif slip == 2 and key:
            at = draws.randrange(len(key[2]))
            lines[i] = key[1] + key[2][:at] + draws.choice("abcxyz_- ") + key[2][at + 1 :] + key[3]
        elif slip == 3 and key:
            lines[i] = f"{key[1]}{key[2]}: {draws.choice(_WORDS)}"
        elif slip == 4:
            lines[i] = " " * draws.randint(1, 5) + lines[i]
        elif slip == 5:
            lines[i] = lines[i].lstrip()
        elif slip == 6:
            lines[i:] = lines[i : i + draws.randint(0, 3)]
        else:
            at = draws.randrange(len(lines[i]) + 1)
            lines[i] = lines[i][:at] + draws.choice(_WORDS) + lines[i][at:]
        if not lines:
            lines = ["name: x"]
    return "\n".join(lines) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_mutated_recipe_is_right_or_told_what_is_wrong(round_: int, tmp_path: Path) -> None:
    draws, shipped = random.Random(round_), texts()
    told = 0
    for _ in range(EACH):
        name, text = draws.choice(shipped)
        file = tmp_path / "recipe.yaml"
        file.write_text(mutated(text, draws), encoding="utf-8")
        try:
            check(load_recipe(str(file)))
        except ConfigError as error:
            told += 1
            lines = str(error).splitlines()
            assert lines, name
            assert all(line.strip() for line in lines), file.read_text()
            assert all(".yaml" in line for line in lines), file.read_text()
            assert all(len(line) < 2000 for line in lines), max(lines, key=len)
        except Exception as error:
            pytest.fail(f"{type(error).__name__}: {error}\n{file.read_text()}")
    assert told > EACH // 3, "the slips do no harm"
