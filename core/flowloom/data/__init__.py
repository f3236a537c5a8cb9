"""Data sets: what they promise, and the small generated ones that ship with the core."""

from flowloom.data.base import Dataset, Examples, Tensors
from flowloom.data.toy import Checkerboard, EightGaussians, Moons

__all__ = ["Checkerboard", "Dataset", "EightGaussians", "Examples", "Moons", "Tensors"]
