"""Data whose law is known."""

from flowloom_foundations.data.classes import NormalClasses, OverlappingClasses, ScatteredClasses

__all__ = ["NormalClasses", "OverlappingClasses", "ScatteredClasses"]
