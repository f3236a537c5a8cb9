"""Views: what is made of rows of data before anything is learned or asked."""

from flowloom.views.base import View, spec_through, through
from flowloom.views.cut import Context, Window
from flowloom.views.mask import Mask
from flowloom.views.noisy import Noisy
from flowloom.views.viewed import Viewed

__all__ = ["Context", "Mask", "Noisy", "View", "Viewed", "Window", "spec_through", "through"]
