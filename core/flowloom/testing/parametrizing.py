"""Checks as pytest items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowloom.testing.kinds import checks_for, law_of
from flowloom.testing.laws import Context
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
        excuses = dict((expected_failures or {}).get(name, {}))
        for check in checks_for(kind, make(), slow=slow):
            label = check.__name__

            def conforms(check: Any = check, make: Any = make) -> None:
                result = run_check(check, make, Context(seed, slow=slow, **known))
                if result.status == "skipped":
                    pytest.skip(result.message)
                if result.status == "failed":
                    pytest.fail(f"{result.name}: {result.message}", pytrace=False)

            marks: list[Any] = [pytest.mark.slow] if law_of(check).slow else []
            if label in excuses:
                marks.append(pytest.mark.xfail(strict=True, reason=excuses[label]))
            items.append(pytest.param(conforms, id=f"{name}-{label}", marks=marks))
    return pytest.mark.parametrize("conforms", items)


def _named(things: Iterable[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for thing in things:
        base = thing.__name__ if hasattr(thing, "__name__") else type(thing).__name__
        name, count = base, 2
        while name in named:
            name, count = f"{base}{count}", count + 1
        named[name] = thing
    return named
