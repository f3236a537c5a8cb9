"""Dequantisers: where in its cell a level of brightness is placed, and the bound that follows."""

from flowloom_likelihood.dequantizers.base import Dequantizer, UniformDequantizer
from flowloom_likelihood.dequantizers.bound import log_probability

__all__ = ["Dequantizer", "UniformDequantizer", "log_probability"]
