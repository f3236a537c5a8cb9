"""Methods that look inside the network: local contrast (2509.20952), a memory bank (2512.08648)."""

from flowloom_foundations.hidden.local_contrast import LocalContrast
from flowloom_foundations.hidden.memory_bank import MemoryBank
from flowloom_foundations.hidden.probe import HiddenFeatures
from flowloom_foundations.hidden.tap import tapped

__all__ = ["HiddenFeatures", "LocalContrast", "MemoryBank", "tapped"]
