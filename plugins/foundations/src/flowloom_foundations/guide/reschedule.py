"""Another schedule for a trained network."""

from __future__ import annotations

from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Rescheduled
from flowloom.guidance import Guidance
from flowloom.paths import AffinePath
from flowloom.schedules import Cosine, Schedule


class Reschedule(Guidance):
    r"""A field of an affine path, walked on another schedule without retraining (2412.06264, section 4.9).

    :math:`\bar x_r = s(r)\,x_{t(r)}` with :math:`t(r)` where the ratio of signal and noise is the same, and
    :math:`s(r) = \bar\sigma_r / \sigma_{t(r)}`. The law of samples stays; what changes is where few steps
    are spent. Any kind of field is read as a velocity. See `flowloom.fields.Rescheduled`.

    Args:
        schedule: the new one.
    """

    def __init__(self, schedule: Schedule | None = None) -> None:
        self.schedule = schedule or Cosine()

    def __call__(self, field: Field) -> Field:
        """The field on the new schedule.

        Raises:
            IncompatibleError: its path is not affine, or the new schedule begins at another scale of noise.
        """
        if not isinstance(field.path, AffinePath) or not field.path.geometry.straight:
            raise IncompatibleError("reschedule needs an affine path in flat space; leave guidance out")
        found = Rescheduled(field, self.schedule)
        if abs(found.source_scale() - 1) > 1e-3:
            raise IncompatibleError(
                f"reschedule: {type(self.schedule).__name__} has {found.source_scale():g} times the noise"
            )
        return found
