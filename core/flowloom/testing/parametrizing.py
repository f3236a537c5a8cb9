"""Checks as pytest items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowloom.testing.kinds import checks_for, law_of
from flowloom.testing.laws import Context, Make
from flowloom.testing.running import as_maker, run_check


def parametrize_with_checks(
    things: Iterable[Any] | Mapping[str, Any],
    *,
    expected_failures: Mapping[str, Mapping[str, str]] | None = None,
    slow: bool = True,
    seed: int = 0,
    **known: Any,
) -> Any:
    """Decorate ``def test_it(conforms): conforms()`` so that every check of every thing is one pytest item.

    Args:
        things: components or functions that build them; as a mapping, its keys name the items.
        expected_failures: reasons by name of check, by name of thing (its key, or its class); strict.
        slow: include slow checks, marked ``slow``.
        seed: of everything drawn.
        known: ``spec``, ``shape`` or ``data``, see `flowloom.testing.check`.

    A test looks like this::

        @parametrize_with_checks({"sphere": lambda: Sphere(2)})
        def test_conforms(conforms):
            conforms()
    """
    import pytest

    named = things if isinstance(things, Mapping) else _named(things)
    items = []
    for name, thing in named.items():
        make, kind = as_maker(thing)
        excuses = (expected_failures or {}).get(name, {})
        items += items_of(make, kind, name, expected_failures=excuses, slow=slow, seed=seed, **known)
    return pytest.mark.parametrize("conforms", items)


def items_of(
    make: Make,
    kind: str,
    name: str,
    *,
    expected_failures: Mapping[str, str] | None = None,
    slow: bool = True,
    seed: int = 0,
    **known: Any,
) -> list[Any]:
    """One ``pytest.param`` for every check that applies; see `parametrize_with_checks`.

    Raises:
        ValueError: ``expected_failures`` names a check that does not apply.
    """
    import pytest

    excuses = dict(expected_failures or {})
    checks = checks_for(kind, make(), slow=slow)
    strangers = sorted(set(excuses) - {c.__name__ for c in checks})
    if strangers:
        raise ValueError(f"expected_failures of {name} names {strangers}, which do not apply")
    items = []
    for check in checks:
        label = check.__name__

        def conforms(check: Any = check) -> None:
            result = run_check(check, make, Context(seed, slow=slow, **known))
            if result.status == "skipped":
                pytest.skip(result.message)
            if result.status == "failed":
                pytest.fail(f"{result.name}: {result.message}", pytrace=False)

        marks: list[Any] = [pytest.mark.slow] if law_of(check).slow else []
        if label in excuses:
            marks.append(pytest.mark.xfail(strict=True, reason=excuses[label]))
        items.append(pytest.param(conforms, id=f"{name}-{label}", marks=marks))
    return items


def _named(things: Iterable[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for thing in things:
        base = thing.__name__ if hasattr(thing, "__name__") else type(thing).__name__
        name, count = base, 2
        while name in named:
            name, count = f"{base}{count}", count + 1
        named[name] = thing
    return named
