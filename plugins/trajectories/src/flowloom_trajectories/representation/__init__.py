"""FlowFM: representations of sensor series, learned by generating them (2512.19729)."""

from flowloom_trajectories.representation.activities import Activities
from flowloom_trajectories.representation.classifier import EncodedClassifier
from flowloom_trajectories.representation.encoders import PcaEncoder, WindowEncoder
from flowloom_trajectories.representation.itself import Itself
from flowloom_trajectories.representation.network import Represented
from flowloom_trajectories.representation.reconstruction import FromConditions
from flowloom_trajectories.representation.scores import LinearProbe, MacroF1
from flowloom_trajectories.representation.spectra import Spectra
from flowloom_trajectories.representation.wearables import Wearables, read_recordings

__all__ = [
    "Activities",
    "EncodedClassifier",
    "FromConditions",
    "Itself",
    "LinearProbe",
    "MacroF1",
    "PcaEncoder",
    "Represented",
    "Spectra",
    "Wearables",
    "WindowEncoder",
    "read_recordings",
]
