"""Conformance: the laws each kind of component must obey, as functions that any plugin's tests can call.

>>> import flowloom as fl
>>> results = fl.testing.check(fl.geometry.Sphere(2))
>>> [r.name for r in results if not r.ok]
[]
"""

from flowloom.testing.kinds import all_checks, checks_for, kind_of
from flowloom.testing.laws import Context, Law, LawBroken, NotApplicable, law
from flowloom.testing.parametrizing import parametrize_with_checks
from flowloom.testing.running import CheckResult, check, run_check

__all__ = [
    "CheckResult",
    "Context",
    "Law",
    "LawBroken",
    "NotApplicable",
    "all_checks",
    "check",
    "checks_for",
    "kind_of",
    "law",
    "parametrize_with_checks",
    "run_check",
]
