"""The toolkit of pages: what it makes is well-formed, escapes what it is given, loads nothing."""

import json
import math
import re
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from flowloom.renderers import Figure
from flowloom_registry.pages import (
    Cell,
    Column,
    Frame,
    Line,
    Plot,
    Section,
    Strip,
    bar,
    notes,
    page,
    player,
    plots,
    strips,
    table,
)

HOSTILE = """</script><script>alert(1)</script><img src=x onerror="alert(2)">'&"""
VOID = {"meta", "link", "img", "input", "br", "hr", "path", "use", "rect"}
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x08\x00\x00\x00\x08"


class Outline(HTMLParser):
    """Tags with attributes; raises where an end does not meet its start."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open
            assert self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
            self.open.pop()

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def loads(outline):
    """Addresses that a browser would fetch by itself."""
    found = [a[k] for tag, a in outline.tags for k in ("src", "srcset", "data", "poster") if a.get(k)]
    return [
        one for one in [*found, *(a.get("href") for a in outline.all("link"))] if not one.startswith("data:")
    ]


def example():
    lines = [
        Line(HOSTILE, [1, 2, 4], [3.0, None, math.nan], "dots"),
        Line("floor", [1, 4], [0.5, 0.5], "level"),
    ]
    drawn = plots([Plot(HOSTILE, lines, "evaluations", log_x=2, log_y=True)])
    rows = [[Cell(HOSTILE, hint=HOSTILE), 1.5, None], ["b", Cell("2", 2.0, best=True), math.inf]]
    data = table([Column(HOSTILE, hint=HOSTILE), "one", "two"], rows, caption=HOSTILE)
    picture = Figure(HOSTILE, "image/png", PNG)
    moving = player([Frame(HOSTILE, [picture]), Frame("t", [picture])], Markup("<p>still</p>"))
    return page(
        HOSTILE,
        Section(HOSTILE, data + notes([HOSTILE])),
        Section("B", drawn + moving + strips([Strip(HOSTILE, [picture])])),
    )


def test_a_page_parses_loads_nothing_and_runs_nothing_that_it_was_given():
    text = example()
    outline = Outline(text)
    assert not loads(outline)
    assert not re.search(r"url\((?!data:|#)|@import", text)
    assert len(outline.all("script")) == 2, "the page's own, and the data of one plot"
    assert not [a for _, a in outline.tags if any(k.startswith("on") for k in a)]
    policy = next(
        a["content"] for a in outline.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_contents_point_at_sections_and_pictures_have_words():
    outline = Outline(example())
    ids = {a["id"] for a in outline.all("section")}
    links = {a["href"][1:] for a in outline.all("a") if a.get("href", "").startswith("#")}
    assert links == ids
    assert len(ids) == 2
    assert all(a.get("alt") for a in outline.all("img"))
    assert all(a.get("scope") in ("col", "row") for a in outline.all("th"))


def test_without_javascript_plots_and_players_show_a_still_picture():
    drawn = plots([Plot("loss", [Line("train", [1, 2, 3], [3.0, 2.0, 1.0])], "step")])
    outline = Outline(str(drawn))
    (svg,) = outline.all("svg")
    assert svg["role"] == "img"
    assert svg["aria-label"] == "loss: train 1 at 3 step"
    assert "var(--c1)" in drawn
    assert "#010a0b" not in drawn
    moving = player([Frame("a", []), Frame("b", [])], Markup("<p>still</p>"))
    stage = next(a for tag, a in Outline(str(moving)).tags if a.get("class") == "stage")
    assert "hidden" in stage, "only the script uncovers it"


def test_the_data_of_a_plot_are_its_lines_over_all_x_with_gaps():
    drawn = plots([Plot("p", [Line("a", [1, 3], [1.0, 2.0]), Line("b", [2], [math.inf])], "n", log_y=True)])
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', drawn).group(1))
    assert data["x"] == [1, 2, 3]
    assert [line["y"] for line in data["lines"]] == [[1, None, 2], [None, None, None]]
    assert data["logY"] is True
    falling = plots([Plot("p", [Line("a", [1, 2], [1.0, -2.0])], "n", log_y=True)])
    assert '"logY":false' in falling, "no logarithm of what is not positive"


def test_lines_of_one_name_share_their_colour_and_the_legend():
    a, b = Line("euler", [1], [1.0]), Line("heun", [1], [2.0])
    drawn = plots([Plot("x", [a, b], "n"), Plot("y", [b], "n")])
    assert re.findall(r'<li class="line" data-label="(\w+)" style="--c:var\((--c\d)\)"', drawn) == [
        ("euler", "--c1"),
        ("heun", "--c2"),
    ]
    assert plots([Plot("empty", [Line("a", [], [])], "n")]) == ""


@pytest.mark.parametrize(("value", "left"), [(-3.0, 4.0), (0.0, 4.0), (1.0, 77.7), (9.0, 96.2)])
def test_a_bar_ends_at_its_edges(value, left):
    assert f"left:{left}%" in bar(value, "words")


def test_notes_are_sentences():
    text = notes(["no baseline: none", " done. ", ""])
    assert "<li>No baseline: none.</li>" in text
    assert "<li>done.</li>" not in text
    assert "<li>Done.</li>" in text
    assert notes([]) == ""
