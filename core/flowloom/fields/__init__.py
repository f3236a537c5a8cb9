"""Fields: what a trained network is at inference, and the conversions between them."""

from flowloom.fields.base import Field, Kind, NetworkField
from flowloom.fields.convert import can_convert, convert, converted
from flowloom.fields.flow_map import SPAN, AverageVelocityMap, EulerMap, FlowMap
from flowloom.fields.reschedule import Rescheduled

__all__ = [
    "SPAN",
    "AverageVelocityMap",
    "EulerMap",
    "Field",
    "FlowMap",
    "Kind",
    "NetworkField",
    "Rescheduled",
    "can_convert",
    "convert",
    "converted",
]
