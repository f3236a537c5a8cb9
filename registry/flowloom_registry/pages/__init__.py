"""HTML pages that people want to look at: one file, no network, useful without JavaScript.

`page` puts `Section` after `Section`; what stands in them is `Markup`: `table` (sortable), `plots` (they
answer to the pointer, with a still drawing inside for print and for browsers without JavaScript), `player`
(a slider over frames), `strips` (rows of small pictures), `bar`, `badges`, `command`. A run's report and an
experiment's page are made of these.

The plots are uPlot's (MIT, 51 kB, in ``assets``): Altair and Plotly would put 0.9 and 4.8 MB into every file.
"""

from flowloom_registry.pages.media import Frame, Strip, embed, player, strips
from flowloom_registry.pages.page import Section, page, render
from flowloom_registry.pages.parts import badges, bar, command, notes
from flowloom_registry.pages.plot import Line, Plot, plots
from flowloom_registry.pages.table import Cell, Column, table

__all__ = [
    "Cell",
    "Column",
    "Frame",
    "Line",
    "Plot",
    "Section",
    "Strip",
    "badges",
    "bar",
    "command",
    "embed",
    "notes",
    "page",
    "player",
    "plots",
    "render",
    "strips",
    "table",
]
