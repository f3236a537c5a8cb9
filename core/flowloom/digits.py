"""Whole numbers as people write them in paths, flags and headers."""

__all__ = ["are_digits"]


def are_digits(text: str) -> bool:
    """Whether a text is one or more of the digits 0 to 9: Python's own test also takes other scripts'."""
    return text.isascii() and text.isdecimal()
