"""Tar shards: rows by number, pictures, and shards that are missing, truncated, empty or foreign."""

from __future__ import annotations

import importlib.util
import io
import pickle
import tarfile
from pathlib import Path

import pytest
import torch

from flowloom.errors import DataError
from flowloom.testing import check
from flowloom_warehouse.tars import TarShards

HERE = importlib.util.spec_from_file_location("warehouse_files", Path(__file__).with_name("conftest.py"))
assert HERE is not None
files = importlib.util.module_from_spec(HERE)
assert HERE.loader is not None
HERE.loader.exec_module(files)

COLUMNS = {"conditions": {"label": "cls"}, "classes": {"label": 4}}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for i in range(3):
        files.tar(folder / f"train-{i:03d}.tar", 10 * i, 10)
    return folder


def test_rows_of_several_shards(shards: Path) -> None:
    data = TarShards(str(shards), **COLUMNS)
    assert len(data) == 30
    some = data.take(torch.tensor([25, 0, 19, 25]))
    assert some.x[:, 0].tolist() == [25, 0, 19, 25]
    assert some.cond["label"].tolist() == [1, 0, 3, 1]
    assert all(result.ok for result in check(TarShards(str(shards), held_out=0.2, **COLUMNS)))


def test_shards_in_capitals_are_read_and_a_folder_is_none(shards: Path) -> None:
    (shards / "train-000.tar").rename(shards / "TRAIN-000.TAR")
    (shards / "a.tar").mkdir()
    assert len(TarShards(str(shards), **COLUMNS)) == 30


def test_what_other_systems_leave_is_no_sample(shards: Path) -> None:
    with tarfile.open(shards / "train-000.tar", "a") as out:
        for name in ("._000.npy", "__MACOSX/0.npy", "PaxHeader/0.npy", "./README.md"):
            member = tarfile.TarInfo(name)
            member.size = 2
            out.addfile(member, io.BytesIO(b"no"))
    (shards / "._train-000.tar").write_bytes(b"no")
    for named in (str(shards), str(shards / "*.tar")):
        data = TarShards(named, **COLUMNS)
        if named == str(shards):
            with pytest.warns(
                UserWarning, match=r"train-000.tar: 1 names that have none of .npy, .cls are no"
            ):
                assert len(data) == 30
        assert len(data) == 30


def test_pictures_and_entries_of_json(shards: Path) -> None:
    data = TarShards(str(shards), states="png", conditions={"weight": "meta.json:weight"})
    assert data.spec.shape == (3, 4, 5)
    some = data.take(torch.tensor([9]))
    assert some.cond["weight"].tolist() == [4.5]
    assert float(some.x.max()) == pytest.approx(9 / 127.5 - 1)


def test_the_index_is_made_once(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(TarShards(str(shards / "train-{000..002}.tar"), **COLUMNS))

    def refuse(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr(tarfile, "open", refuse)
    assert len(TarShards(str(shards / "train-{000..002}.tar"), **COLUMNS)) == before


def test_it_reads_what_webdataset_writes(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="pip install webdataset")
    with webdataset.TarWriter(str(tmp_path / "w.tar")) as sink:
        for i in range(5):
            sink.write({"__key__": f"part/{i:03d}", "npy": torch.full((2,), float(i)).numpy(), "cls": i % 4})
    data = TarShards(str(tmp_path / "w.tar"), **COLUMNS)
    assert data.take(torch.tensor([4])).x.tolist() == [[4.0, 4.0]]


def test_joined_tars_are_read_to_their_end(tmp_path: Path) -> None:
    """As ``cat a.tar b.tar`` makes them; the second begins with the name that the first ends with."""
    files.tar(tmp_path / "a.tar", 0, 4)
    files.tar(tmp_path / "b.tar", 3, 5)
    (tmp_path / "c.tar").write_bytes((tmp_path / "a.tar").read_bytes() + (tmp_path / "b.tar").read_bytes())
    data = TarShards(str(tmp_path / "c.tar"), **COLUMNS)
    assert data.all().x[:, 0].tolist() == [0, 1, 2, 3, 3, 4, 5, 6, 7]


def test_several_ranges(tmp_path: Path) -> None:
    for i in range(4):
        files.tar(tmp_path / f"{i // 2}-{i % 2:02d}.tar", i, 1)
    data = TarShards(str(tmp_path / "{0..1}-{00..01}.tar"), **COLUMNS)
    assert data.all().x[:, 0].tolist() == [0, 1, 2, 3]


class TestBadInput:
    def refused(self, match: str, shards: object, **said: object) -> None:
        with pytest.raises(DataError, match=match):
            TarShards(str(shards), **{**COLUMNS, **said}).all()  # type: ignore[arg-type]

    def test_a_missing_shard_is_named(self, shards):
        (shards / "train-001.tar").unlink()
        self.refused(r"shard .*train-001.tar is missing \(1 of 3 are\)", shards / "train-{000..002}.tar")
        self.refused("no tar files", shards / "none")

    @pytest.mark.parametrize(
        ("ranges", "message"),
        [
            ("{003..000}", r"a range counts up, and \{003..000\} does not"),
            ("{000..}", "a range is two whole numbers"),
            ("{a..c}", "a range is two whole numbers"),
            ("{0,1}", "a range is two whole numbers"),
            ("{000..002..2}", "a range is two whole numbers"),
            ("{000..002", "a range is two whole numbers"),
            ("{0..1}}", "a range is two whole numbers"),
            ("{0..99999999999}", "100000000000 files"),
        ],
    )
    def test_a_range_that_is_none(self, shards, ranges, message):
        self.refused(message, shards / f"train-{ranges}.tar")

    def test_what_is_joined_to_a_tar_and_is_none(self, tmp_path):
        files.tar(tmp_path / "a.tar", 0, 3)
        whole = (tmp_path / "a.tar").read_bytes()
        (tmp_path / "a.tar").write_bytes(whole + b"hello" * 1000 + bytes(2000))
        self.refused(r"a.tar is truncated or no tar file: at byte \d+ is neither", tmp_path / "a.tar")

    def test_a_damaged_header_in_the_middle(self, tmp_path):
        files.tar(tmp_path / "a.tar", 0, 6)
        with tarfile.open(tmp_path / "a.tar") as opened:
            place = opened.getmembers()[9].offset
        with open(tmp_path / "a.tar", "r+b") as file:
            file.seek(place)
            file.write(b"x" * 512)
        self.refused(r"a.tar is truncated or no tar file", tmp_path / "a.tar")

    def test_a_file_that_is_there_twice(self, tmp_path):
        files.tar(tmp_path / "a.tar", 0, 3, endings="few")
        with tarfile.open(tmp_path / "a.tar", "a") as out:
            member = tarfile.TarInfo("000002.cls")
            member.size = 1
            out.addfile(member, io.BytesIO(b"3"))
        self.refused(r"a.tar: sample 2 \(000002\) has two files .cls", tmp_path / "a.tar")

    def test_a_damaged_picture_is_told_by_shard_and_sample(self, tmp_path, monkeypatch):
        files.tar(tmp_path / "a.tar", 0, 3)
        monkeypatch.setattr(files, "picture", lambda i: b"\x89PNG no")
        files.tar(tmp_path / "b.tar", 3, 3)
        self.refused(r"b.tar, sample 0 \(row 3\): column 'png' cannot be read", tmp_path, states="png")

    @pytest.mark.parametrize("cut", [0, 20, 700, 9000], ids=lambda cut: f"{cut} bytes of content")
    def test_a_truncated_shard_is_named(self, shards, cut):
        """Without the mark of its end, in the last file, in a header, in the middle."""
        file = shards / "train-002.tar"
        content = file.read_bytes().rstrip(b"\0")
        file.write_bytes(content[: len(content) - cut])
        self.refused(r"shard .*train-002.tar is truncated", shards)

    def test_one_that_changes_meanwhile(self, shards):
        data = TarShards(str(shards), **COLUMNS)
        assert len(data) == 30
        file = shards / "train-002.tar"
        file.write_bytes(file.read_bytes()[:600])
        with pytest.raises(DataError, match=r"train-002.tar has changed or is truncated"):
            data.take(torch.tensor([29]))

    def test_an_empty_and_a_foreign_one(self, tmp_path):
        with tarfile.open(tmp_path / "empty.tar", "w"):
            pass
        self.refused("empty.tar is empty", tmp_path / "empty.tar")
        (tmp_path / "no.tar").write_bytes(b"hello" * 500)
        self.refused("no.tar is truncated or no tar file", tmp_path / "no.tar")

    def test_a_sample_that_lacks_a_column(self, tmp_path):
        files.tar(tmp_path / "a.tar", 0, 3, endings="few")
        self.refused(r"sample 0 has no file \.png; it has: cls", tmp_path / "a.tar", states="png")

    @pytest.mark.parametrize("ending", ["pkl", "pyd", "pth", "exe", "json"])
    def test_endings_that_are_not_read(self, shards, ending):
        self.refused("say which entry" if ending == "json" else "cannot be read", shards, states=ending)

    def test_nothing_is_unpickled(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (exec, ("raise SystemExit('ran')",))

        with tarfile.open(tmp_path / "evil.tar", "w") as out:
            import numpy as np

            buffer = io.BytesIO()
            np.save(buffer, np.array([Evil()], dtype=object), allow_pickle=True)
            for ending, data in (("npy", buffer.getvalue()), ("cls", pickle.dumps(Evil()))):
                member = tarfile.TarInfo(f"0.{ending}")
                member.size = len(data)
                out.addfile(member, io.BytesIO(data))
        self.refused("column 'npy' cannot be read", tmp_path / "evil.tar")

    def test_values_of_another_type(self, tmp_path):
        files.tar(tmp_path / "a.tar", 0, 3)
        self.refused("expected 0 to 1", tmp_path / "a.tar", classes={"label": 2})
        self.refused("cannot be read", tmp_path / "a.tar", conditions={"label": "meta.json:nothing"})
