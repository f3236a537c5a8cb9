"""Image data sets."""

from flowloom_images.data.digits import Digits

__all__ = ["Digits"]
