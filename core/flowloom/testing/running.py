"""Run checks without pytest."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from flowloom.data.base import Dataset
from flowloom.errors import IncompatibleError, MissingDependencyError
from flowloom.flow import Flow
from flowloom.kinds import KINDS, Kind
from flowloom.spec import Spec
from flowloom.state import Shape
from flowloom.testing.kinds import all_checks, checks_for, kind_named, kind_of
from flowloom.testing.laws import Check, Context, LawBroken, Make, NotApplicable

Status = Literal["passed", "failed", "skipped", "expected"]

NOT_VACUOUS = "check_is_not_vacuous"
"""Name of the law that every component with laws must keep: at least one of the others can be checked."""


@dataclass(frozen=True)
class CheckResult:
    """The verdict of one check.

    Args:
        name: of the check function.
        status: ``expected`` is a failure that was announced; one that was announced and passes is ``failed``.
        message: one line; empty where the check passed.
        deviation: the measured deviation nearest to (or furthest over) its tolerance, if any was measured.
        tolerance: allowed there.
        seed: with which it can be repeated.
    """

    name: str
    status: Status
    message: str = ""
    deviation: float | None = None
    tolerance: float | None = None
    seed: int = 0

    @property
    def ok(self) -> bool:
        """Whether there is nothing to mend."""
        return self.status != "failed"


def check(
    thing: Any,
    kind: str | Kind | None = None,
    *,
    spec: Spec | None = None,
    shape: Shape | None = None,
    data: Dataset | None = None,
    flow: Flow | None = None,
    expected_failures: Mapping[str, str] | None = None,
    seed: int = 0,
    slow: bool = False,
) -> list[CheckResult]:
    """Check a component against the laws of its kind.

    The last verdict, ``check_is_not_vacuous``, fails where no law could be checked: a component that refuses
    all that it is offered has shown nothing.

    Args:
        thing: an instance, or a function of no arguments (a class, say) that builds one.
        kind: its kind (a `flowloom.kinds.Kind` where it is a plugin's), found from its class where absent.
        spec: of the states, for components that do not carry one (most networks).
        shape: event shape of one state, where it cannot be inferred.
        data: a data set, for components of one domain.
        flow: of the recipe that the component stands in.
        expected_failures: reasons by name of check. Strict: one that passes after all is a failure.
        seed: of everything drawn.
        slow: also run checks that take seconds.

    >>> import flowloom as fl
    >>> all(result.ok for result in check(fl.schedules.Cosine()))
    True
    """
    make, kind = as_maker(thing, kind)
    excused = dict(expected_failures or {})
    if not all_checks(kind):
        return []
    checks = checks_for(kind, make(), slow=slow)
    known = {c.__name__ for c in checks}
    strangers = sorted(set(excused) - known)
    if strangers:
        raise ValueError(f"expected_failures names {strangers}; the checks here are {sorted(known)}")
    results = [
        run_check(c, make, Context(seed, spec, shape, data, flow, slow), excused.get(c.__name__))
        for c in checks
    ]
    return [*results, not_vacuous(results, seed)]


def not_vacuous(results: Sequence[CheckResult], seed: int = 0) -> CheckResult:
    """The verdict on the verdicts: failed where every check was skipped."""
    if any(result.status != "skipped" for result in results):
        return CheckResult(NOT_VACUOUS, "passed", seed=seed)
    reason = f": {results[0].message}" if results else ""
    message = f"no law of its kind could be checked{reason}"
    return CheckResult(NOT_VACUOUS, "failed", message, seed=seed)


def run_check(check: Check, make: Make, context: Context, excuse: str | None = None) -> CheckResult:
    """Run one check and turn what it raises into a verdict.

    The global generator of torch is seeded first (weights are drawn from it) and restored afterwards.
    """
    name = getattr(check, "__name__", "check")
    status: Status = "passed"
    message = ""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed)
        try:
            check(make, context)
        except NotApplicable as reason:
            return CheckResult(name, "skipped", str(reason), seed=context.seed)
        except MissingDependencyError as absent:
            return CheckResult(name, "skipped", str(absent), seed=context.seed)
        except IncompatibleError as refusal:
            # The stand-ins that a check brings along are not what this component works with.
            return CheckResult(
                name, "skipped", f"refuses what the check offers: {refusal}", seed=context.seed
            )
        except LawBroken as broken:
            status, message = "failed", str(broken)
        except Exception as error:  # A component may raise anything; that is a verdict on it.
            line = " ".join(str(error).split())
            status, message = "failed", f"raised {type(error).__name__}: {line} (seed {context.seed})"
    if excuse is not None:
        if status == "failed":
            status, message = "expected", f"{excuse} [{message}]"
        else:
            status, message = "failed", f"expected to fail ({excuse}) but passes; drop it from the list"
    return CheckResult(name, status, message, context.deviation, context.tolerance, context.seed)


def as_maker(thing: Any, kind: str | Kind | None = None) -> tuple[Callable[[], Any], Kind]:
    """A function that builds fresh instances, and their kind.

    Raises:
        TypeError: the thing is no component and builds none.
    """
    given = kind_named(kind) if kind is not None else None
    own = None if isinstance(thing, type) else kind_of(thing, KINDS if given is None else (given,))
    if own is not None:
        return (lambda: copy.deepcopy(thing)), own
    if not callable(thing):
        raise TypeError(f"{thing!r} is neither a component nor a function that builds one")
    found = given or kind_of(thing())
    if found is None:
        raise TypeError(f"{thing!r} builds a {type(thing()).__name__}, which is no component; give kind=")
    return thing, found
