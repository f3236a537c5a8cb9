"""Data sets: digits, idx files, splits and flips."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from pathlib import Path

import pytest
import torch

from flowloom.errors import DataError
from flowloom_images.data import MNIST, Digits, FashionMNIST
from flowloom_images.data.idx import read_idx
from flowloom_images.data.splits import stratified


def idx(values: torch.Tensor) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.to(torch.uint8).numpy().tobytes()


def write_mnist(
    folder: Path, prefix: str, n: int = 40, zipped: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    folder.mkdir(parents=True, exist_ok=True)
    images = torch.randint(256, (n, 28, 28), generator=torch.Generator().manual_seed(n))
    labels = torch.arange(n) % 10
    for stem, values in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
        raw = idx(values)
        name = f"{stem}.gz" if zipped else stem
        (folder / name).write_bytes(gzip.compress(raw) if zipped else raw)
    return images, labels


def test_digits_are_the_real_ones_scaled():
    train, test = Digits(), Digits().split("test")
    assert len(train) + len(test) == 1797
    everything = torch.cat([train.all().x, test.all().x])
    assert everything.dtype == torch.float32
    assert everything.shape == (1797, 1, 8, 8)
    assert everything.min() == -1
    assert everything.max() == 1
    # 0..16 in steps of one become steps of 1/8.
    assert torch.equal((everything + 1) * 8, ((everything + 1) * 8).round())
    from sklearn.datasets import load_digits

    assert abs(float((everything + 1).double().mean()) * 8 - load_digits().images.mean()) < 1e-5


def test_digits_split_is_stratified_disjoint_and_seeded():
    counts = torch.bincount(Digits().split("test").all().cond["label"])
    assert counts.min() >= 35
    assert counts.max() <= 37
    a, b = Digits(seed=0).split("test").all().x, Digits(seed=1).split("test").all().x
    assert not torch.equal(a[:50], b[:50])
    assert torch.equal(a, Digits(seed=0).split("test").all().x)
    train = {tuple(row) for row in Digits().all().x.flatten(1).tolist()}
    held = {tuple(row) for row in a.flatten(1).tolist()}
    assert len(train & held) <= 2  # the set itself may hold equal images


def test_val_is_carved_from_train():
    data = Digits(val=0.25)
    train, val, test = data.split("train"), data.split("val"), data.split("test")
    assert len(train) + len(val) == len(Digits())
    assert abs(len(val) / len(Digits()) - 0.25) < 0.01
    assert len(test) == len(Digits().split("test"))
    assert torch.equal(test.all().x, Digits().split("test").all().x)
    rows = sorted(map(tuple, torch.cat([train.all().x, val.all().x]).flatten(1).tolist()))
    assert rows == sorted(map(tuple, Digits().all().x.flatten(1).tolist()))


def test_val_and_unknown_splits_are_refused_clearly():
    with pytest.raises(DataError, match="set val to a share"):
        Digits().split("val")
    with pytest.raises(DataError, match="no split 'dev'"):
        Digits().split("dev")
    with pytest.raises(DataError, match="between 0 and 1"):
        len(Digits(test=1.5))


def test_stratified_holds_out_from_every_class_but_the_lonely():
    labels = torch.tensor([0] * 10 + [1] * 4 + [2])
    kept, held = stratified(labels, 0.2, 0)
    assert torch.bincount(labels[held], minlength=3).tolist() == [2, 1, 0]
    assert sorted(torch.cat([kept, held]).tolist()) == list(range(15))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw", "."])
def test_mnist_reads_made_files(tmp_path, monkeypatch, folder, zipped):
    images, labels = write_mnist(tmp_path / folder, "train", 30, zipped)
    write_mnist(tmp_path / folder, "t10k", 20, zipped)
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    data = MNIST(download=False)
    assert len(data) == 30
    assert len(data.split("test")) == 20
    examples = data.all()
    torch.testing.assert_close(examples.x[:, 0], images.float() / 127.5 - 1)
    assert torch.equal(examples.cond["label"], labels)
    assert data.spec.conditions["label"].classes == 10


def test_construction_reads_nothing(tmp_path):
    data = MNIST(root=str(tmp_path / "nowhere"), download=False)
    assert data.spec.shape == (1, 28, 28)
    data.split("test")


def test_missing_train_files_are_named_with_the_way_out(tmp_path):
    write_mnist(tmp_path / "mnist", "t10k")
    with pytest.raises(DataError) as caught:
        len(MNIST(root=str(tmp_path), download=False))
    message = str(caught.value)
    assert "train-images-idx3-ubyte" in message
    assert str(tmp_path / "mnist") in message
    assert "files: test" in message
    assert "\n" not in message


def test_test_files_alone_can_be_split(tmp_path):
    images, _ = write_mnist(tmp_path / "mnist", "t10k", 100)
    data = MNIST(root=str(tmp_path), files="test", download=False)
    assert (len(data), len(data.split("test"))) == (80, 20)
    both = torch.cat([data.all().x, data.split("test").all().x])
    assert abs(float(both.mean()) - float((images.float() / 127.5 - 1).mean())) < 1e-5


def test_fashion_never_takes_mnist_for_itself(tmp_path):
    write_mnist(tmp_path, "train")
    with pytest.raises(DataError, match="FashionMNIST lacks"):
        len(FashionMNIST(root=str(tmp_path), download=False))
    write_mnist(tmp_path / "fashion-mnist", "train")
    assert len(FashionMNIST(root=str(tmp_path), download=False)) == 40


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not an idx file"),
        (b"\x89PNG", "not an idx file"),
        (bytes([0, 0, 13, 1]) + struct.pack(">I", 1) + b"\0" * 4, "type 0x0d"),
        (idx(torch.zeros(3, 2))[:-1], "truncated"),
        (idx(torch.zeros(3, 2)) + b"x", "truncated or damaged"),
        (gzip.compress(idx(torch.zeros(300, 20)), mtime=0)[:-9], "truncated or damaged"),
        (b"\x1f\x8b" + b"junk" * 9, "truncated or damaged"),
        (bytes([0, 0, 8, 3, 0]), "truncated"),
        (idx(torch.zeros(0, 2)), "holds no values"),
    ],
)
def test_bad_idx_files_are_one_clear_line(tmp_path, raw, says):
    path = tmp_path / "file"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=says) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_idx_round_trip_keeps_order(tmp_path):
    values = torch.arange(24).view(2, 3, 4)
    (tmp_path / "f").write_bytes(idx(values))
    assert torch.equal(read_idx(tmp_path / "f").long(), values)


def test_images_and_labels_must_agree(tmp_path):
    write_mnist(tmp_path, "t10k", 20)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(torch.zeros(19)))
    with pytest.raises(DataError, match="beside 20 images"):
        len(MNIST(root=str(tmp_path), files="test", download=False))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(torch.full((20,), 11)))
    with pytest.raises(DataError, match="label 11"):
        len(MNIST(root=str(tmp_path), files="test", download=False))


def test_mnist_downloads_what_is_missing(tmp_path, monkeypatch):
    served = tmp_path / "served"
    served.mkdir()
    checksums = {}
    for stem, shape in (("t10k-images-idx3-ubyte", (20, 28, 28)), ("t10k-labels-idx1-ubyte", (20,))):
        content = gzip.compress(idx(torch.zeros(shape)))
        (served / f"{stem}.gz").write_bytes(content)
        checksums[stem] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(MNIST, "mirrors", (f"{served.as_uri()}/",))
    monkeypatch.setattr(MNIST, "checksums", checksums)
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path / "data"))
    assert len(MNIST().split("test")) == 20
    assert sorted(os.listdir(tmp_path / "data" / "mnist")) == sorted(f"{stem}.gz" for stem in checksums)
    monkeypatch.setattr(MNIST, "mirrors", ())
    assert len(MNIST().split("test")) == 20


def test_checksums_are_whole():
    for value in MNIST.checksums.values():
        assert len(value) == 64
        int(value, 16)
