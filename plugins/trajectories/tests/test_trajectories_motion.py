"""Ways in motion: discs are where their ways are, and not to be seen where nobody saw them."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
import torch

from flowloom.data import Examples
from flowloom.layout import Layout
from flowloom_trajectories.data import Crossroads, Crowd, MazePlans
from flowloom_trajectories.motion import Mover, Panel, moving
from flowloom_trajectories.renderer import Fans


def values(svg, name):
    return re.findall(f'attributeName="{name}" values="([^"]*)"', svg)


def test_discs_go_along_their_ways():
    way = torch.tensor([[0.0, 0.0], [1.0, 2.0], [4.0, 4.0]])
    svg = moving([Panel([Mover(way, "#000")], (0.0, 0.0), 4.0)], "").data.decode()
    ElementTree.fromstring(svg)
    assert values(svg, "cx") == ["0.0;55.0;220.0"]  # 220 pixels are 4 m
    assert values(svg, "cy") == ["220.0;110.0;0.0"]  # up is up
    assert not values(svg, "opacity")
    assert 'circle cx="220.0" cy="0.0"' in svg  # in print, the end
    assert ">4</text>" in svg
    assert "x / m" in svg


def test_what_is_not_seen_is_not_shown():
    way = torch.tensor([[torch.nan, torch.nan], [1.0, 1.0], [torch.nan, torch.nan]])
    svg = moving([Panel([Mover(way, "#000")], (0.0, 0.0), 4.0)], "").data.decode()
    assert values(svg, "opacity") == ["0;1;0"]
    assert values(svg, "cx") == ["55.0;55.0;55.0"]
    nobody = torch.full((3, 2), torch.nan)
    assert "circle" not in moving([Panel([Mover(nobody, "#000")], (0.0, 0.0), 4.0)], "").data.decode()


@pytest.mark.parametrize("data", [Crossroads(n=8), Crowd(n=8), MazePlans(n=8, horizon=16)])
def test_answers_move(data):
    rows = data.take(torch.arange(3)).laid_out(data.spec)
    maze = ("####", "#..#", "####") if isinstance(data, MazePlans) else ()
    answered = type(rows)(torch.cat([rows.x, rows.x + 0.1]))
    still, motion = Fans(rows=2, draws=2, maze=maze).answers(None, answered, rows)
    assert (still.title, motion.title) == ("Fans", "In motion")
    svg = motion.data.decode()
    ElementTree.fromstring(svg)
    steps = {len(one.split(";")) for one in values(svg, "cx")}
    told = rows.cond["past"].shape[1] if "past" in rows.cond else 0
    assert steps == {told + rows.x.shape[1]}


def test_ways_of_poses_move_in_the_plane():
    past, x = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    rows = Examples(x, {"past": past, "neighbours": torch.ones(2, 1, 2, 3)})
    motion = Fans(axes="plane", draws=1).answers(None, rows, rows)[1]
    assert {len(one.split(";")) for one in values(motion.data.decode(), "cx")} == {8}


def test_series_stand_still():
    x = torch.randn(4, 12, 3)
    (figure,) = Fans(axes="time", draws=1).answers(None, Examples(x), Examples(x))
    assert figure.mime == "image/png"


def test_answers_alone_are_not_shown_again_as_real():
    ways = Examples(torch.randn(3, 5, 2))
    (alone,) = Fans().samples(ways, ways)
    (beside,) = Fans().samples(ways, Examples(torch.randn(3, 5, 2)))
    assert (alone.caption, beside.caption) == (
        "Generated, all over each other.",
        "Generated and real, all over each other.",
    )
    wide, wider = (int.from_bytes(one.data[16:20], "big") for one in (alone, beside))
    assert 2 * wide == wider


def test_what_is_missing_is_not_drawn(monkeypatch):
    """Neither of the truth nor of its draws, nor does it widen what is shown."""
    from matplotlib.axes import Axes

    drawn = []
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **_: drawn.append(list(y)))
    x, real = torch.full((1, 6, 2), 50.0), torch.ones(1, 6, dtype=torch.bool)
    x[:, 4:], real[:, 4:] = 0.0, False
    rows = Examples(x, layout=Layout(real=real))
    Fans(axes="time", draws=2).answers(None, rows, rows)
    Fans(draws=1).answers(None, rows, rows)
    assert len(drawn) >= 4
    assert {value for line in drawn for value in line if value == value} == {50.0}
    motion = Fans(draws=1).answers(None, rows, rows)[1].data.decode()
    ElementTree.fromstring(motion)
    assert "0;0" in values(motion, "opacity")[0]
    (tile,) = Fans(axes="time").tiles(rows)
    assert tile.data.decode().count(",") == 4
