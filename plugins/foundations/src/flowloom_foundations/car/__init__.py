"""Condition-aware reparameterisation (CAR-Flow, 2509.19300)."""

from flowloom_foundations.car.moving_chart import ConditionAware
from flowloom_foundations.car.path_length import PathLength
from flowloom_foundations.car.shifts import ConditionShift
from flowloom_foundations.car.source import ShiftedGaussian

__all__ = ["ConditionAware", "ConditionShift", "PathLength", "ShiftedGaussian"]
