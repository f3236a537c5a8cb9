"""Data sets of sequences."""

from flowloom_sequences.data.files import SequenceFile
from flowloom_sequences.data.text import Text

__all__ = ["SequenceFile", "Text"]
