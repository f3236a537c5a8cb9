"""What of the flow matching guide (2412.06264) is no row of core yet."""

from flowloom_foundations.guide.reschedule import Reschedule

__all__ = ["Reschedule"]
