"""From text to symbols, and from symbols to frames."""

from flowloom_audio.text.alignment import monotonic_alignment, spread
from flowloom_audio.text.frontend import Frontend

__all__ = ["Frontend", "monotonic_alignment", "spread"]
