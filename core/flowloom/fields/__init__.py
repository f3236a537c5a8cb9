"""Fields: what a trained network is at inference, and what else it can be read as."""

from flowloom.fields.base import Field, Kind, NetworkField
from flowloom.fields.flow_map import SPAN, AverageVelocityMap, EulerMap, FlowMap
from flowloom.fields.reschedule import Rescheduled
from flowloom.fields.wrapped import ThroughPath, Wrapped, read_as

__all__ = [
    "SPAN",
    "AverageVelocityMap",
    "EulerMap",
    "Field",
    "FlowMap",
    "Kind",
    "NetworkField",
    "Rescheduled",
    "ThroughPath",
    "Wrapped",
    "read_as",
]
