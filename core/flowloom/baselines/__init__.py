"""Baselines: simple laws that any flow has to beat, under the same conditions as the flow."""

from flowloom.baselines.base import Baseline
from flowloom.baselines.chart import Chart
from flowloom.baselines.frequencies import draw_tokens
from flowloom.baselines.gaussian import ConditionalGaussian
from flowloom.baselines.law import draw_baseline, name_of

__all__ = ["Baseline", "Chart", "ConditionalGaussian", "draw_baseline", "draw_tokens", "name_of"]
