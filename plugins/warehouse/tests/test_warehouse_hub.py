"""Data sets of the library ``datasets``: folders, parquet, JSON, streams that go on exactly, bad input."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

datasets = pytest.importorskip("datasets", reason="pip install 'flowloom-warehouse[hub]'")

from flowloom.errors import DataError, MissingDependencyError  # noqa: E402
from flowloom.flow import Flow  # noqa: E402
from flowloom.models import MLP  # noqa: E402
from flowloom.seeds import generator  # noqa: E402
from flowloom.testing import check  # noqa: E402
from flowloom.training import Feeding  # noqa: E402
from flowloom_warehouse.hub import HubData, HubStream  # noqa: E402

HERE = importlib.util.spec_from_file_location("warehouse_files", Path(__file__).with_name("conftest.py"))
assert HERE is not None
files = importlib.util.module_from_spec(HERE)
assert HERE.loader is not None
HERE.loader.exec_module(files)

COLUMNS = {"conditions": {"label": "label"}, "classes": {"label": 4}}


@pytest.fixture
def table():
    return datasets.Dataset.from_dict(files.rows(50))


@pytest.mark.parametrize("form", ["parquet", "json", "folder", "shards", "capitals"])
def test_every_form_gives_the_same_rows(table, tmp_path: Path, form: str) -> None:
    place = tmp_path / "data"
    if form == "parquet":
        place = tmp_path / "rows.parquet"
        table.to_parquet(place)
    elif form == "json":
        place = tmp_path / "rows.jsonl"
        table.to_json(place)
    elif form == "capitals":
        (place / "a.parquet").mkdir(parents=True)  # a folder is no file, whatever its name
        table.to_parquet(place / "ROWS.PARQUET")
        (place / "._ROWS.PARQUET").write_bytes(b"\x00\x05\x16\x07")  # of a Mac
    elif form == "shards":
        place.mkdir()
        for i in range(2):
            table.select(range(25 * i, 25 * i + 25)).to_parquet(place / f"{i}.parquet")
    else:
        table.save_to_disk(str(place))
    data = HubData(str(place), **COLUMNS)
    assert len(data) == 50
    assert data.spec.shape == (3,)
    some = data.take(torch.tensor([7, 0, 49, 7]))
    right = torch.tensor(files.rows(50)["x"])[[7, 0, 49, 7]]
    assert isinstance(some.x, torch.Tensor)
    assert torch.allclose(some.x, right)
    assert some.cond["label"].tolist() == [3, 0, 1, 3]


def test_it_keeps_the_laws(table, tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "rows.parquet")
    data = HubData(str(tmp_path / "rows.parquet"), held_out=0.2, **COLUMNS)
    assert all(result.ok for result in check(data)), [r for r in check(data) if not r.ok]


def test_names_of_classes_and_words(table, tmp_path: Path) -> None:
    known = table.cast_column("label", datasets.ClassLabel(names=["a", "b", "c", "d"]))
    known.save_to_disk(str(tmp_path / "data"))
    data = HubData(
        str(tmp_path / "data"),
        conditions={"label": "label", "kind": "kind"},
        classes={"kind": ["dog", "cat"]},
    )
    assert data.spec.conditions["label"].names == ("a", "b", "c", "d")
    assert data.take(torch.tensor([0, 1])).cond["kind"].tolist() == [0, 1]


def test_pictures_and_tokens(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.fromarray(np.full((4, 5), 10 * i, dtype="uint8")) for i in range(6)]
    table = datasets.Dataset.from_dict({"image": pictures, "ids": [[i, 1, 2] for i in range(6)]})
    table.save_to_disk(str(tmp_path / "data"))
    data = HubData(str(tmp_path / "data"), states="image")
    assert data.spec.shape == (1, 4, 5)
    assert data.spec.limits == (-1.0, 1.0)
    assert float(data.take(torch.tensor([3])).x[0, 0, 0, 0]) == pytest.approx(30 / 127.5 - 1)
    tokens = HubData(str(tmp_path / "data"), states="ids", vocab=6)
    assert tokens.spec.vocab == 6
    assert tokens.take(torch.tensor([5])).x.tolist() == [[5, 1, 2]]


def test_held_out_rows_are_no_training_rows(table, tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "rows.parquet")
    data = HubData(str(tmp_path / "rows.parquet"), held_out=0.2, **COLUMNS)
    test = data.split("test")
    assert (len(data), len(test)) == (40, 10)
    seen = {tuple(row) for row in data.all().x.tolist()} | {tuple(row) for row in test.all().x.tolist()}
    assert len(seen) == 50


@pytest.mark.parametrize("share", [0.1, 0.3, 0.4])
def test_held_out_rows_are_of_every_class_and_no_rows_of_a_stream(tmp_path: Path, share: float) -> None:
    n = 1000
    rows = {"x": [float(i) for i in range(n)], "label": [i % 10 for i in range(n)]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "rows.parquet")
    said = {"conditions": {"label": "label"}, "classes": {"label": 10}, "held_out": share}
    data = HubData(str(tmp_path / "rows.parquet"), **said)
    test = data.split("test").all()
    assert len(test) == round(share * n)
    assert len(data) == n - len(test)
    assert test.cond["label"].unique().tolist() == list(range(10))
    stream = HubStream(str(tmp_path / "rows.parquet"), shuffle=1, **said)
    started(stream, 50)
    seen = torch.cat([batch(stream, k).x1 for k in range(len(data) // 50)])
    assert seen.equal(data.all().x), "the same rows, in their order"
    late = HubStream(str(tmp_path / "rows.parquet"), shuffle=1, **said)
    started(late, 50)
    assert batch(late, 7).x1.equal(seen[350:400])


def test_a_folder_has_the_splits_that_its_files_are_named_for(table, tmp_path: Path) -> None:
    for folder in ("flat", "deep/data", "apart"):
        (tmp_path / folder).mkdir(parents=True)
    parts = {"train": table.select(range(30)), "test": table.select(range(30, 45))}
    parts["validation"] = table.select(range(45, 50))
    for name, part in parts.items():
        part.to_parquet(tmp_path / "flat" / f"{name}-000.parquet")
        part.to_parquet(tmp_path / "deep" / "data" / f"{name}-00000-of-00001.parquet")
        (tmp_path / "apart" / name).mkdir()
        part.to_parquet(tmp_path / "apart" / name / "rows.parquet")
    for folder in ("flat", "deep", "apart"):
        # What the files say goes before a share.
        data = HubData(str(tmp_path / folder), held_out=0.2, **COLUMNS)
        assert len(data) == 30
        assert data.split("test").all().x.tolist() == parts["test"]["x"][:]
        assert len(data.split("val")) == 5
        stream = HubStream(str(tmp_path / folder), shuffle=1, **COLUMNS)
        assert rows_of(stream, 30) == parts["train"]["x"][:]


def test_a_file_that_is_named_for_no_split_beside_others_is_told(table, tmp_path: Path) -> None:
    for name in ("train.parquet", "test.parquet", "more.parquet"):
        table.to_parquet(tmp_path / name)
    with pytest.warns(UserWarning, match=r"more.parquet is named for no split"):
        assert len(HubData(str(tmp_path), **COLUMNS)) == 50


def test_splits_may_have_other_columns(table, tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "train.parquet")
    table.remove_columns("label").to_parquet(tmp_path / "test.parquet")
    data = HubData(str(tmp_path), **COLUMNS)
    assert len(data) == 50
    with pytest.raises(DataError, match="no column 'label'"):
        data.split("test")


def started(one: HubStream, size: int) -> None:
    torch.manual_seed(0)
    flow = Flow(MLP(one.spec, width=4), spec=one.spec)
    one.start(Feeding(flow, size, 3))


def rows_of(one: HubStream, n: int) -> list[list[float]]:
    started(one, n)
    return batch(one, 0).x1.tolist()


def feed(path: Path, **said) -> HubStream:
    one = HubStream(str(path), shuffle=16, **COLUMNS, **said)
    started(one, 8)
    return one


def batch(one, k: int):
    return one.batch(k, generator(3, "source", k))


@pytest.mark.parametrize("order", [[5, 6, 7], [6, 0, 12, 3], [1, 5, 9, 13, 17]], ids=["on", "any", "stride"])
def test_a_stream_goes_on_in_mid_epoch(table, tmp_path: Path, order: list[int]) -> None:
    """Batch k is the same after any others: of a continuation, of another epoch, of one process of four."""
    table.to_parquet(tmp_path / "rows.parquet")
    whole = feed(tmp_path / "rows.parquet")
    right = {k: batch(whole, k) for k in range(20)}
    late = feed(tmp_path / "rows.parquet")
    for k in order:
        found = batch(late, k)
        assert found.x1.equal(right[k].x1)
        assert found.x0.equal(right[k].x0)
        assert found.cond["label"].equal(right[k].cond["label"])
    seen = torch.cat([right[k].x1 for k in range(6)])
    assert len(seen.unique(dim=0)) == 48, "an epoch has every row once"


def test_a_stream_in_a_recipe(table, tmp_path: Path) -> None:
    from flowloom_registry.cli import main

    table.to_parquet(tmp_path / "rows.parquet")
    said = f"path: {tmp_path}/rows.parquet, conditions: {{label: label}}, classes: {{label: 4}}"
    (tmp_path / "streamed.yaml").write_text(
        f"data: {{use: hugging-face, {said}, held_out: 0.2}}\n"
        f"feed: {{use: hub-stream, {said}, shuffle: 16}}\n"
        "model: {use: mlp, width: 8}\ntrain: {steps: 4, batch: 8}\nevaluate: {n: 8, sweep_nfe: []}\n"
        "metrics: [energy-distance]\nsample: {n: 4, frames: 2, rows: 2}\n"
    )
    assert main(["run", str(tmp_path / "streamed.yaml"), "--out", str(tmp_path / "run"), "--quiet"]) == 0


class TestBadInput:
    def test_missing_and_foreign(self, tmp_path):
        with pytest.raises(DataError, match=r"there is no .*rows.parquet"):
            len(HubData(str(tmp_path / "rows.parquet")))
        (tmp_path / "letter.docx").write_text("x")
        with pytest.raises(DataError, match="no files that end in"):
            len(HubData(str(tmp_path)))

    def test_a_truncated_file(self, table, tmp_path):
        file = tmp_path / "rows.parquet"
        table.to_parquet(file)
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(DataError, match=r"rows.parquet cannot be read"):
            len(HubData(str(file), **COLUMNS))

    def test_empty(self, table, tmp_path):
        table.select([]).save_to_disk(str(tmp_path / "data"))
        with pytest.raises(DataError, match="empty"):
            len(HubData(str(tmp_path / "data"), **COLUMNS))

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            ({"states": "y"}, "no column 'y'; it has: x, label, kind"),
            ({"states": "label"}, r"whole numbers, which are tokens .*vocab"),
            ({"states": "kind"}, r"row 0: column 'kind' holds the word 'dog'"),
            ({"conditions": {"label": "label"}}, r"say how many classes .*label: 10"),
            ({"conditions": {"label": "label"}, "classes": {"label": 2}}, "holds 2, expected 0 to 1"),
            ({"classes": {"lable": 2}}, "classes are of conditions"),
            ({"shapes": {"x": [2, 2]}}, "3 entries a row"),
        ],
    )
    def test_columns(self, table, tmp_path, said, message):
        table.save_to_disk(str(tmp_path / "data"))
        with pytest.raises(DataError, match=message):
            HubData(str(tmp_path / "data"), **said).all()

    def test_rows_of_other_shape_or_without_a_value(self, tmp_path):
        datasets.Dataset.from_dict({"x": [[1.0, 2.0], [3.0]]}).save_to_disk(str(tmp_path / "ragged"))
        with pytest.raises(DataError, match=r"row 1: column 'x' has shape \(1,\).* differ in shape"):
            HubData(str(tmp_path / "ragged")).all()
        datasets.Dataset.from_dict({"x": [1.0, None]}).save_to_disk(str(tmp_path / "holes"))
        with pytest.raises(DataError, match="row 1: column 'x'"):
            HubData(str(tmp_path / "holes")).all()

    @pytest.mark.parametrize("form", ["mapped", "stream"])
    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("image", None, r"row 70: column 'image' holds nothing"),
            (
                "image",
                {"bytes": b"\x89PNG no", "path": None},
                r"row 70: column 'image' cannot be read: cannot",
            ),
            ("label", None, r"row 70: column 'label' holds nothing"),
            ("label", -1, r"row 70: column 'label' holds -1, expected 0 to 3"),
            ("far", [1.0], r"row 70: column 'far' has shape \(1,\), and the first row \(2,\)"),
            ("far", None, r"row 70: column 'far' (holds nothing|is not finite)"),
        ],
    )
    def test_a_bad_value_is_told_by_row_and_column(self, tmp_path, form, column, value, message):
        n = 100
        rows = {
            "image": [{"bytes": files.picture(i), "path": None} for i in range(n)],
            "label": [i % 4 for i in range(n)],
            "far": [[1.0, 2.0] for _ in range(n)],
        }
        rows[column][70] = value
        table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
        table.to_parquet(tmp_path / "rows.parquet")
        said = {"states": "image", "conditions": {"label": "label", "far": "far"}, "classes": {"label": 4}}
        with pytest.raises(DataError, match=rf"rows.parquet, {message}"):
            if form == "mapped":
                HubData(str(tmp_path / "rows.parquet"), **said).all()
            else:
                rows_of(HubStream(str(tmp_path / "rows.parquet"), **said), n)

    def test_a_stream_that_breaks_off_says_where(self, tmp_path):
        lines = ['{"x": [0.5, 1.0]}'] * 9
        (tmp_path / "rows.jsonl").write_text("\n".join([*lines, "{", ""]))
        with pytest.raises(DataError, match=r"rows.jsonl, row \d+ cannot be read"):
            rows_of(HubStream(str(tmp_path / "rows.jsonl")), 20)

    def test_files_whose_splits_cannot_be_told(self, table, tmp_path):
        for name in ("TRAIN.PARQUET", "TEST.PARQUET"):
            table.to_parquet(tmp_path / name)
        with pytest.raises(DataError, match="no split can be told of its files"):
            len(HubData(str(tmp_path), **COLUMNS))

    def test_a_share_of_nothing(self, table, tmp_path):
        table.select(range(2)).to_parquet(tmp_path / "rows.parquet")
        with pytest.raises(DataError, match="held_out gives it none of 2 rows"):
            HubData(str(tmp_path / "rows.parquet"), held_out=0.01, **COLUMNS).split("test")

    def test_no_such_split(self, table, tmp_path):
        table.train_test_split(0.2).save_to_disk(str(tmp_path / "data"))
        with pytest.raises(DataError, match="no split 'val'; it has: train, test"):
            HubData(str(tmp_path / "data"), **COLUMNS).split("val")

    def test_without_the_package(self, monkeypatch):
        monkeypatch.setattr("flowloom_warehouse.hub.find_spec", lambda name: None)
        with pytest.raises(MissingDependencyError, match=r"flowloom-warehouse\[hub\]"):
            HubData("x")
