"""One's own arrays as data: no class, no pickle, and mistakes told by file and name."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flowloom.data import TensorFile
from flowloom.errors import DataError

X = np.arange(40, dtype=np.float64).reshape(20, 2)
PAST = np.ones((20, 3, 2), np.float32)
LABEL = np.arange(20, dtype=np.int32) % 4


@pytest.fixture
def npz(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, x=X, past=PAST, label=LABEL)
    return file


def test_arrays_and_conditions_of_an_npz(npz):
    data = TensorFile(npz, conditions={"past": "past", "class": "label"}, held_out=0)
    assert data.spec.shape == (2,)
    assert data.spec.conditions["past"].shape == (3, 2)
    assert data.spec.conditions["class"].classes == 4
    rows = data.take(torch.tensor([3, 0]))
    assert rows.x.dtype == torch.float32
    assert rows.x.tolist() == [[6.0, 7.0], [0.0, 1.0]]
    assert rows.cond["class"].tolist() == [3, 0]


def test_the_same_examples_from_every_kind_of_file(npz, tmp_path):
    np.save(tmp_path / "a.npy", X)
    save_file({"x": torch.tensor(X)}, tmp_path / "a.safetensors")
    np.savetxt(tmp_path / "a.csv", X, delimiter=",")
    for name in ("a.npz", "a.npy", "a.safetensors", "a.csv"):
        assert TensorFile(tmp_path / name, held_out=0).all().x.tolist() == X.tolist()


def test_parts_by_name_and_by_prefix(tmp_path):
    np.savez(tmp_path / "a.npz", xyz=PAST, z=LABEL[:, None])
    data = TensorFile(tmp_path / "a.npz", states={"pos": "xyz", "types": "z"})
    assert data.spec.parts["pos"].shape == (3, 2)
    assert data.spec.parts["types"].vocab == 4
    save_file({"x.pos": torch.tensor(PAST), "x.n": torch.tensor(LABEL)}, tmp_path / "b.safetensors")
    assert set(TensorFile(tmp_path / "b.safetensors").spec.parts) == {"pos", "n"}


def test_csv_with_words_and_a_header(tmp_path):
    lines = [f"{i},{i / 2},{'cat' if i % 2 else 'ant'}" for i in range(10)]
    (tmp_path / "a.csv").write_text("\n".join(["width,height,animal", *lines]))
    data = TensorFile(tmp_path / "a.csv", conditions={"label": "animal"}, held_out=0)
    assert data.spec.shape == (2,)
    assert data.spec.vocab is None
    assert data.spec.conditions["label"].names == ("ant", "cat")
    one = TensorFile(tmp_path / "a.csv", states=["height"], conditions={"label": "animal"}, held_out=0)
    assert one.all().x[:3].tolist() == [[0.0], [0.5], [1.0]]


@pytest.mark.parametrize("between", [",", "\t", ";"])
def test_tables_have_commas_tabs_or_semicolons(tmp_path, between):
    lines = ["a,b,c", "1,2,ant", "3,4,bee", ""]
    (tmp_path / "a.csv").write_text("\n".join(lines).replace(",", between))
    data = TensorFile(tmp_path / "a.csv", conditions={"c": "c"}, held_out=0)
    assert data.all().x.tolist() == [[1, 2], [3, 4]]
    assert data.spec.conditions["c"].names == ("ant", "bee")


def test_splits_are_disjoint_seeded_and_whole(npz):
    data = TensorFile(npz, held_out=0.2, val=0.25, seed=3)
    parts = [data.all(), data.split("val").all(), data.split("test").all()]
    assert [len(p) for p in parts] == [12, 4, 4]
    assert sorted(torch.cat([p.x for p in parts])[:, 0].tolist()) == X[:, 0].tolist()
    again = TensorFile(npz, held_out=0.2, val=0.25, seed=3)
    assert again.split("test").all().x.equal(parts[2].x)
    with pytest.raises(DataError, match="no split 'test'; it has: train"):
        TensorFile(npz, held_out=0).split("test")


def test_a_test_file_has_the_words_of_the_training_file(tmp_path):
    (tmp_path / "a.csv").write_text("x,c\n1,ant\n2,bee\n3,cat\n")
    (tmp_path / "b.csv").write_text("x,c\n1,cat\n2,bee\n")
    (tmp_path / "z.csv").write_text("x,c\n1,zebra\n")
    data = TensorFile(tmp_path / "a.csv", conditions={"c": "c"}, test=tmp_path / "b.csv")
    assert len(data) == 3
    assert data.split("test").all().cond["c"].tolist() == [2, 1]
    with pytest.raises(DataError, match=r"z.csv: c 'zebra' is not among those of the training file"):
        len(TensorFile(tmp_path / "a.csv", conditions={"c": "c"}, test=tmp_path / "z.csv"))


def test_a_test_file_of_another_form(npz, tmp_path):
    np.savez(tmp_path / "b.npz", x=np.zeros((5, 3)))
    np.savez(tmp_path / "c.npz", x=np.zeros((5, 2)), label=np.full(5, 9))
    with pytest.raises(DataError, match=r"b.npz has states of shape \(3,\), the training file \(2,\)"):
        len(TensorFile(npz, test=tmp_path / "b.npz"))
    with pytest.raises(DataError, match=r"c.npz: label has the id 9, the training file none above 3"):
        len(TensorFile(npz, conditions={"label": "label"}, test=tmp_path / "c.npz"))


@pytest.mark.parametrize(
    ("made", "settings", "words"),
    [
        ({"x": np.array([{}, 1], dtype=object)}, {}, "Object arrays cannot be loaded"),
        ({"x": np.zeros(3, complex)}, {}, "array 'x' holds complex128"),
        ({"x": np.array(["a", "b"])}, {}, "array 'x' holds <U1"),
        ({"y": X}, {}, r"has no array 'x'; say which holds the states \(states: NAME\): y"),
        ({"x": X}, {"states": "y"}, "has no 'y', which the states asks for; it has: x"),
        ({"x": X}, {"conditions": {"c": "d"}}, "has no 'd', which condition 'c' asks for; it has: x"),
        ({"x": X, "c": LABEL[:5]}, {"conditions": {"c": "c"}}, "differ in their number of examples"),
        ({"x": np.float32(3)}, {}, "is a single number"),
        ({"x": np.zeros((0, 2))}, {}, "is empty"),
        ({"x": np.array([1.0, 1e300])}, {}, "array 'x' holds 1e\\+300, beyond the range of float32"),
        ({"x": np.array([2**63], np.uint64)}, {}, "beyond the range of int64"),
        ({"x": np.array([3, -1])}, {}, "states hold -1; whole numbers are tokens, from 0"),
        ({"x": X, "c": LABEL - 1}, {"conditions": {"c": "c"}}, "row 0: condition 'c' is -1, and classes"),
        ({"x": X}, {"states": []}, "states names no array"),
        ({"x": X}, {"states": ["x", "x"]}, "states names a column twice"),
        ({"x": X}, {"conditions": {"a=b": "x"}}, "no name is empty or has a '='"),
    ],
)
def test_arrays_that_are_no_data(tmp_path, made, settings, words):
    np.savez(tmp_path / "a.npz", **made)
    with pytest.raises(DataError, match=words):
        len(TensorFile(tmp_path / "a.npz", **settings))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"1", r"files are read that end in .npz, .npy, .safetensors, .csv; got '.txt'"),
        ("a.npz", b"PK\x03\x04", "is no archive of arrays"),
        ("a.npz", b"hello", "is no archive of arrays"),
        ("a.npy", b"hello", "is no array of numbers"),
        ("a.safetensors", b"hello", "is no safetensors file"),
        ("a.csv", b"\xff\xfe", "is no CSV in UTF-8"),
        ("a.csv", b"", "holds nothing"),
        ("a.csv", b"x,y\n1,2\n3\n", "a.csv:3: 1 cells under 2 columns"),
        ("a.csv", b"x,y\n1,2\n3,z\n", "a.csv:3: column 'y' holds numbers, and 'z' here"),
        ("a.csv", b"x,x\n1,2\n", "column 'x' is there twice"),
        ("a.csv", b"x,y\n1,2\n,\n3,4\n", "a.csv:3: every cell is empty"),
        ("a.csv", b"x,y\n1,2\n3,1e39\n", "a.csv:3: column 'y' is beyond the range of float32: '1e39'"),
        ("a.npz", b"", "is no archive of arrays of numbers"),
        ("a.npy", b"", "is no array of numbers"),
        ("a.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': (((\n12345", "is no array of numbers"),
    ],
)
def test_files_that_are_no_data(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        len(TensorFile(tmp_path / name))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*gone.npz"):
        len(TensorFile(tmp_path / "gone.npz"))


def test_rows_that_say_no_class_are_told_by_their_line(tmp_path):
    file = tmp_path / "a.csv"
    for cells, said in (
        (("ant", "", "bee"), "is empty"),
        (("0", "-1", "1"), "is -1, and classes count from 0"),
    ):
        file.write_text("x,c\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells)))
        with pytest.raises(DataError, match=rf"a.csv:3: condition 'c' {said}"):
            len(TensorFile(file, conditions={"c": "c"}))
        assert len(TensorFile(file, states=["x"], held_out=0)) == 3


def test_empty_rows_about_a_table_are_no_rows(tmp_path):
    (tmp_path / "a.csv").write_text(",\nx,y\n\n1,2\n3,4\n,\n\n")
    assert TensorFile(tmp_path / "a.csv", held_out=0).all().x.tolist() == [[1, 2], [3, 4]]


def test_other_forms_of_numpy_are_told_with_the_name_of_the_file(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.savez(file, x=X)
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, X)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("notes.txt", "hello")
    np.savez(tmp_path / "c.npz", x=X)
    whole = bytearray((tmp_path / "c.npz").read_bytes())
    for sign, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        whole[whole.index(sign) + place] = 77  # no such way of compression
    (tmp_path / "c.npz").write_bytes(bytes(whole))
    for name, said in (
        ("a.npy", "name it .npz"), ("a.npz", "name it .npy"), ("b.npz", "'notes.txt' in it is no array"),
        ("c.npz", "compression"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=rf"{name} is no .*{said}"):
            len(TensorFile(tmp_path / name))
    np.save(tmp_path / "d.npy", X.astype(np.longdouble))
    assert TensorFile(tmp_path / "d.npy", held_out=0).all().x.tolist() == X.tolist()
