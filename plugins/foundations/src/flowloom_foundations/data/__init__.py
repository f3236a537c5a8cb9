"""Data whose law is known."""

from flowloom_foundations.data.classes import NormalClasses, OverlappingClasses, ScatteredClasses
from flowloom_foundations.data.modes import EightModes

__all__ = ["EightModes", "NormalClasses", "OverlappingClasses", "ScatteredClasses"]
