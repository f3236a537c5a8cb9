"""Which part of a recipe an object is, and which part an error came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from flowloom.errors import FlowloomError
from flowloom_registry.config.nodes import Position
from flowloom_registry.config.plan import Plan, place_of
from flowloom_registry.errors import ConfigError, Problem


class Places:
    """Remembers what was built from where, by identity."""

    def __init__(self) -> None:
        # The objects are held, so that no other one can come to have their identity.
        self._made: dict[int, tuple[object, Plan]] = {}

    def note(self, made: object, plan: Plan) -> None:
        """Remember that ``made`` was built from ``plan``; of several plans of one object the first counts."""
        self._made.setdefault(id(made), (made, plan))

    def plan_of(self, part: object) -> Plan | None:
        """The plan of an object, None where the recipe did not make it."""
        found = self._made.get(id(part))
        return found[1] if found is not None else None

    def made(self, contract: type) -> Iterator[tuple[str, Any]]:
        """Dotted path and object of everything built that keeps a contract, as it was made."""
        for one, plan in self._made.values():
            if isinstance(one, contract):
                yield plan.path, one

    def where(self, part: object) -> Position | None:
        """Where an object was written, None where the recipe did not make it."""
        plan = self.plan_of(part)
        return plan.at if plan is not None else None

    def blame(self, error: BaseException) -> Plan | None:
        """The plan of the innermost part in whose methods an error was raised, None where there was none."""
        found: Plan | None = None
        trace: TracebackType | None = error.__traceback__
        while trace is not None:
            found = self.plan_of(trace.tb_frame.f_locals.get("self")) or found
            trace = trace.tb_next
        return found

    def told(self, error: FlowloomError) -> Problem | None:
        """An error of a running part with the place of the part, None where it belongs to no part."""
        plan = self.blame(error)
        if plan is None:
            return None
        who = getattr(plan.target, "__name__", plan.path)
        return place_of(plan, str(error)).problem(plan.path, f"{who}: {error}")

    @contextmanager
    def placing(self) -> Iterator[None]:
        """Errors that a part raises inside are raised again with file, line and section of that part.

        Raises:
            ConfigError: in place of any other `FlowloomError` of a part.
        """
        try:
            yield
        except ConfigError:
            raise
        except FlowloomError as error:
            problem = self.told(error)
            if problem is None:
                raise
            raise ConfigError([problem]) from error
