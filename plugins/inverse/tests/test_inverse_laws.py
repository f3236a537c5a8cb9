"""The laws of operators and restorers find their wrong twins."""

import pytest
import torch

from flowloom.testing import check
from flowloom_inverse.operators import AveragePool
from flowloom_inverse.restorers import FlowDPS
from flowloom_registry import catalog


class Right(AveragePool):
    def __init__(self):
        super().__init__(2)


class LooksAtTheBatch(Right):
    def __call__(self, x, drawn):
        return super().__call__(x - x.mean(0), drawn)


class HalfBack(Right):
    def back(self, y, drawn):
        return super().back(y, drawn) / 2


class OffBack(Right):
    def back(self, y, drawn):
        return super().back(y, drawn) + 0.1


class WrongAdjoint(Right):
    def adjoint(self, y, drawn):
        return self.back(y, drawn)


class HalfSettled(Right):
    def settle(self, x, y, drawn, trust=0.0):
        return (x + super().settle(x, y, drawn, trust)) / 2


class Restless(Right):
    def settle(self, x, y, drawn, trust=0.0):
        return super().settle(x, y, drawn, 0.0)


class Elsewhere(Right):
    def settle(self, x, y, drawn, trust=0.0):
        return super().settle(x, y, drawn, trust) + 0.01


class WithoutDerivative(Right):
    def __call__(self, x, drawn):
        return super().__call__(x.detach() + 0 * x, drawn)


OPERATORS = [
    (LooksAtTheBatch, "check_rows_are_independent"),
    (HalfBack, "check_back_measures_the_same"),
    (OffBack, "check_back_measures_the_same"),
    (WrongAdjoint, "check_adjoint"),
    (HalfSettled, "check_settle"),
    (Restless, "check_settle"),
    (Elsewhere, "check_truth_stays"),
    (WithoutDerivative, "check_differentiable"),
]


def failed(make, kind):
    return {verdict.name for verdict in check(make, catalog().kind(kind)) if not verdict.ok}


def test_the_right_one_keeps_the_laws():
    assert failed(Right, "operator") == set()


@pytest.mark.parametrize(("wrong", "name"), OPERATORS, ids=lambda x: getattr(x, "__name__", x))
def test_laws_of_operators_find_their_wrong_twin(wrong, name):
    assert name in failed(wrong, "operator")


class Few(FlowDPS):
    def __init__(self):
        super().__init__(steps=4)


class Infinite(Few):
    def solve(self, field, x0, **settings):
        found = super().solve(field, x0, **settings)
        found.x[0] = torch.nan
        return found


class Careless(Few):
    def solve(self, field, x0, **settings):
        found = super().solve(field, x0, **settings)
        found.x += 1e-3 * torch.randn_like(found.x)
        return found


class Deaf(Few):
    def solve(self, field, x0, **settings):
        found = super().solve(field, x0, **settings)
        found.x.copy_(found.x.mean(0, keepdim=True).expand_as(found.x))
        return found


class Remembers(Few):
    def of(self, problem):
        self._problem = problem
        return self


RESTORERS = [
    (Infinite, "check_answers_fit"),
    (Careless, "check_is_deterministic"),
    (Deaf, "check_answers_depend_on_the_measurement"),
    (Remembers, "check_needs_a_problem"),
]


def test_the_right_restorer_keeps_the_laws():
    assert failed(Few, "restorer") == set()


@pytest.mark.parametrize(("wrong", "name"), RESTORERS, ids=lambda x: getattr(x, "__name__", x))
def test_laws_of_restorers_find_their_wrong_twin(wrong, name):
    assert name in failed(wrong, "restorer")
