"""Checks as pytest items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from flowloom.kinds import Kind
from flowloom.testing.kinds import all_checks, checks_for, law_of
from flowloom.testing.laws import Check, Context, Make
from flowloom.testing.running import NOT_VACUOUS, CheckResult, as_maker, not_vacuous, run_check


def parametrize_with_checks(
    things: Iterable[Any] | Mapping[str, Any],
    *,
    kind: str | Kind | None = None,
    expected_failures: Mapping[str, Mapping[str, str]] | None = None,
    slow: bool = True,
    seed: int = 0,
    **known: Any,
) -> Any:
    """Decorate ``def test_it(conforms): conforms()`` so that every check of every thing is one pytest item.

    Args:
        things: components or functions that build them; as a mapping, its keys name the items.
        kind: of all of them, where their class does not tell; a `flowloom.kinds.Kind` for a plugin's own.
        expected_failures: reasons by name of check, by name of thing (its key, or its class); strict.
        slow: include slow checks, marked ``slow``.
        seed: of everything drawn.
        known: ``spec``, ``shape``, ``data`` or ``flow``, see `flowloom.testing.check`.

    A test looks like this::

        @parametrize_with_checks({"sphere": lambda: Sphere(2)})
        def test_conforms(conforms):
            conforms()
    """
    import pytest

    named = things if isinstance(things, Mapping) else _named(things)
    items = []
    for name, thing in named.items():
        make, found = as_maker(thing, kind)
        excuses = (expected_failures or {}).get(name, {})
        items += items_of(make, found, name, expected_failures=excuses, slow=slow, seed=seed, **known)
    return pytest.mark.parametrize("conforms", items)


def items_of(
    make: Make,
    kind: str | Kind,
    name: str,
    *,
    expected_failures: Mapping[str, str] | None = None,
    slow: bool = True,
    seed: int = 0,
    **known: Any,
) -> list[Any]:
    """One ``pytest.param`` for every check that applies, and one for ``check_is_not_vacuous``.

    See `parametrize_with_checks` for the arguments.

    Raises:
        ValueError: ``expected_failures`` names a check that does not apply.
    """
    import pytest

    if not all_checks(kind):
        return []
    excuses = dict(expected_failures or {})
    checks = checks_for(kind, make(), slow=slow)
    strangers = sorted(set(excuses) - {c.__name__ for c in checks})
    if strangers:
        raise ValueError(f"expected_failures of {name} names {strangers}, which do not apply")
    done: dict[str, CheckResult] = {}

    def verdict(check: Check) -> CheckResult:
        if check.__name__ not in done:
            done[check.__name__] = run_check(check, make, Context(seed, slow=slow, **known))
        return done[check.__name__]

    def item(label: str, judge: Callable[[], CheckResult], slow: bool = False) -> Any:
        def conforms() -> None:
            result = judge()
            if result.status == "skipped":
                pytest.skip(result.message)
            if result.status == "failed":
                pytest.fail(f"{result.name}: {result.message}", pytrace=False)

        marks: list[Any] = [pytest.mark.slow] if slow else []
        if label in excuses:
            marks.append(pytest.mark.xfail(strict=True, reason=excuses[label]))
        return pytest.param(conforms, id=f"{name}-{label}", marks=marks)

    def whole() -> CheckResult:
        # One check that was not skipped settles it, so that an item by itself stays cheap.
        results: list[CheckResult] = []
        for check in checks:
            results.append(verdict(check))
            if results[-1].status != "skipped":
                break
        return not_vacuous(results, seed)

    items = [item(c.__name__, partial(verdict, c), law_of(c).slow) for c in checks]
    return [*items, item(NOT_VACUOUS, whole)]


def _named(things: Iterable[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for thing in things:
        base = thing.__name__ if hasattr(thing, "__name__") else type(thing).__name__
        name, count = base, 2
        while name in named:
            name, count = f"{base}{count}", count + 1
        named[name] = thing
    return named
