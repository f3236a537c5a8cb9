"""Data sets: what they promise, those from files and tensors, and the small generated ones of the core."""

from flowloom.data.base import Dataset, Examples, Tensors
from flowloom.data.drawn import Drawn
from flowloom.data.mixed import Mixed
from flowloom.data.samples import Samples
from flowloom.data.tensor_file import TensorFile
from flowloom.data.toy import Checkerboard, EightGaussians, Molecules, Moons

__all__ = [
    "Checkerboard",
    "Dataset",
    "Drawn",
    "EightGaussians",
    "Examples",
    "Mixed",
    "Molecules",
    "Moons",
    "Samples",
    "TensorFile",
    "Tensors",
]
