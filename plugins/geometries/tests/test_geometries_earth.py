"""Events on the globe: reading, splitting, refusing, drawing."""

import json
import math

import pytest
import torch

import flowloom as fl
from flowloom.data.base import Examples
from flowloom.draw import Draw
from flowloom.errors import DataError
from flowloom.geometry import Sphere
from flowloom.sources import Paired
from flowloom.spec import Spec
from flowloom_geometries.data import Earth
from flowloom_geometries.data import earth as earth_module
from flowloom_geometries.data.earth import read_coordinates, split_rows, to_degrees, to_sphere
from flowloom_geometries.world_map import WorldMap, density_grid, integral
from flowloom_registry.cli import main


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def rows(n):
    return "\n".join(f"{(7 * i) % 90 - 45},{(13 * i) % 360 - 180}" for i in range(n))


@pytest.mark.parametrize(
    "head",
    [
        "",
        "# https://where.it/came from, and more\n",
        "# a comment\nLatitude,Longitude\n",
        "# the flood file\nlat,long\n",
        "# the earthquake file\n# has two comments\n# or three\nLATITUDE,LONGITUDE\n",
        "\ufefflat,lon\n",
        "Lat , LNG,1999\n",
    ],
)
def test_comment_and_header_may_precede(head, tmp_path):
    file = write(tmp_path / "a.csv", head + "10.5,-20\n\n-90, 180\n")
    assert read_coordinates(file).tolist() == [[10.5, -20.0], [-90.0, 180.0]]


def test_columns_are_found_by_name(tmp_path):
    file = write(tmp_path / "a.csv", "id,Longitude,Latitude,year\n1,100,20,1999\n")
    assert read_coordinates(file).tolist() == [[20.0, 100.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3\n", r"a\.csv:2: expected latitude, longitude; got '3'"),
        ("1,2\n\n3,x\n", r"a\.csv:3: longitude is not a number: 'x'"),
        ("1,2\n91,0\n", r"a\.csv:2: latitude 91 is out of range"),
        (f"1,2,{'x' * 140_000}\n", r"a\.csv is no table of coordinates: field larger"),
        ("1,2\nnan,0\n", r"a\.csv:2: latitude nan is out of range"),
        ("# nothing\n", r"holds no rows"),
        (
            "latitude,depth\n1,2\n",
            r"a\.csv:1: neither numbers nor a header with the columns latitude and lon",
        ),
        ("x,y\n1,2\n", r"a\.csv:1: neither numbers nor a header .*: 'x,y'"),
        ("# home\nn/a,n/a\n1,2\n", r"a\.csv:2: neither numbers nor a header .*: 'n/a,n/a'"),
        ("abc,10\n1,2\n", r"a\.csv:1: latitude is not a number: 'abc'"),
        ("10,abc\n1,2\n", r"a\.csv:1: longitude is not a number: 'abc'"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_coordinates(write(tmp_path / "a.csv", text))


def test_known_places():
    degrees = torch.tensor([[0.0, 0], [0, 90], [90, 17], [-45, 180]], dtype=torch.float64)
    r = math.sqrt(0.5)
    expected = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-r, 0, -r]], dtype=torch.float64)
    assert torch.allclose(to_sphere(degrees), expected, atol=1e-12)
    assert torch.allclose(to_degrees(to_sphere(degrees[[0, 1, 3]])), degrees[[0, 1, 3]], atol=1e-9)


@pytest.mark.parametrize(
    ("event", "name"),
    [("volcano", "volerup"), ("earthquake", "quakes_all"), ("flood", "flood"), ("fire", "fire")],
)
@pytest.mark.parametrize("folder", ["earth/", ""])
def test_all_four_sets_are_found_and_split(event, name, folder, tmp_path, monkeypatch):
    write(tmp_path / f"{folder}{name}.csv", "# home\n" + rows(50))
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    data = Earth(event, seed=3)
    parts = [data.split(p) for p in ("train", "val", "test")]
    assert [len(p) for p in parts] == [40, 5, 5]
    everything = torch.cat([p.all().x for p in parts])
    Sphere(2).require(everything)
    assert len(everything.unique(dim=0)) == len(to_sphere(read_coordinates(data.path())).unique(dim=0))
    again, other = Earth(event, seed=3).all().x, Earth(event, seed=4).all().x
    assert torch.equal(again, parts[0].all().x)
    assert not torch.equal(other, again)


def test_a_file_of_ones_own(tmp_path):
    file = write(tmp_path / "mine.csv", rows(20))
    assert len(Earth(file=str(file)).split("test")) == 2
    with pytest.raises(DataError, match="no split 'dev'"):
        Earth(file=str(file)).split("dev")
    with pytest.raises(DataError, match="cannot read"):
        len(Earth(file=str(tmp_path / "absent.csv")))
    with pytest.raises(DataError, match="too few"):
        split_rows(9, 0)
    with pytest.raises(DataError, match="unknown event 'meteor'"):
        Earth("meteor")


def test_what_cannot_be_downloaded_says_what_to_do(tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setattr(earth_module, "_HOME", f"{tmp_path.as_uri()}/")
    with pytest.raises(DataError, match=r"download flood\.csv .*/flood\.csv: .*; get it by other means"):
        len(Earth("flood", root=str(home)))
    write(tmp_path / "fire.csv", "1,2\n")
    with pytest.raises(DataError, match="checksum"):
        len(Earth("fire", root=str(home)))
    assert not list(home.rglob("*.csv"))


def test_an_event_without_a_stated_checksum_arrives(tmp_path, monkeypatch):
    write(tmp_path / "flood.csv", "lat,lon\n" + "".join(f"{i},{2 * i}\n" for i in range(-40, 40)))
    monkeypatch.setattr(earth_module, "_HOME", f"{tmp_path.as_uri()}/")
    assert len(Earth("flood", root=str(tmp_path / "home"))) == 64
    assert (tmp_path / "home" / "earth" / "flood.csv").is_file()


def test_the_map_integrates_the_uniform_law_to_one():
    grid = density_grid(lambda x: torch.full((len(x),), -math.log(4 * math.pi)), 24)
    assert grid.shape == (24, 48)
    assert integral(grid) == pytest.approx(1, abs=1e-6)


def test_maps_are_drawn(draws):
    x = Sphere(2).random((50, 3), Draw(draws))
    renderer = WorldMap(resolution=12)
    figures = [
        *renderer.samples(Examples(x), Examples(x)),
        *renderer.trajectory([0.0, 0.5, 1.0], [x, x, x]),
        renderer.density(lambda z: 3 * z[:, 2], x, "north"),
    ]
    assert all(f.mime == "image/png" and f.data.startswith(b"\x89PNG") for f in figures)


def test_the_map_shows_the_density_of_a_flow_on_the_sphere_and_of_no_other():
    x = Sphere(2).random((30, 3), Draw(torch.Generator().manual_seed(0)))
    renderer = WorldMap(resolution=8)
    flow = fl.Flow(fl.models.MLP(Spec(shape=(3,)), width=8), geometry=Sphere(2))
    (figure,) = renderer.flow(flow, Examples(x))
    assert figure.title == "Learned density"
    assert figure.data.startswith(b"\x89PNG")
    assert renderer.flow(fl.Flow(fl.models.MLP(Spec(shape=(3,)), width=8)), Examples(x)) == []
    silent = fl.Flow(fl.models.MLP(Spec(shape=(3,)), width=8), geometry=Sphere(2), source=Paired())
    assert renderer.flow(silent, Examples(x)) == []


@pytest.mark.slow
def test_a_run_reads_its_file_trains_and_reports(tmp_path, monkeypatch, capsys):
    """The recipe end to end, small: scores of the test split, the weights that did best, the map."""
    write(tmp_path / "earth/volerup.csv", rows(60))
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    small = [
        "train.steps=4", "train.batch=16", "train.checkpoint_every=2", "validate.every=2", "sample.n=8",
        "model.width=16", "source.rows=20", "renderer.resolution=8",
        "evaluate.sweep_nfe=[]",
    ]  # fmt: skip
    out = tmp_path / "run"
    words = [w for setting in small for w in ("--set", setting)]
    assert main(["run", "earth-volcano", "--out", str(out), "--device", "cpu", *words]) == 0
    result = json.loads((out / "evaluation.json").read_text())
    assert math.isfinite(result["scores"]["held-out data"]["nll"])
    assert "nll" in capsys.readouterr().out
    assert (out / "best.safetensors").is_file()
    assert (out / "samples/learned-density.png").is_file()
    assert "Learned density" in (out / "report.html").read_text()


def test_a_bad_row_stops_a_run_with_one_line(tmp_path, monkeypatch, capsys):
    file = write(tmp_path / "earth/volerup.csv", rows(20) + "\n12,not-a-number\n")
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    assert main(["run", "earth-volcano", "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    err = capsys.readouterr().err.strip()
    assert f"{file}:21: longitude is not a number: 'not-a-number'" in err
    assert "\n" not in err
    assert not (tmp_path / "run").exists()
