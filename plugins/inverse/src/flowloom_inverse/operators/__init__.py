"""Measurement operators: masks, blurs, averages, clipping."""

from flowloom_inverse.operators.base import Operator
from flowloom_inverse.operators.clipping import Clipping
from flowloom_inverse.operators.masking import Masking
from flowloom_inverse.operators.separable import AveragePool, GaussianBlur, Separable

__all__ = ["AveragePool", "Clipping", "GaussianBlur", "Masking", "Operator", "Separable"]
