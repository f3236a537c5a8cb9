"""CIFAR-10: both versions, and pickles that must not be obeyed."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from flowloom.errors import DataError
from flowloom_images.data import CIFAR10
from flowloom_images.data.cifar import read_binary_batch
from flowloom_images.data.cifar_python import read_python_batch

N = 12


def batch(seed: int, n: int = N) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3072), dtype=np.uint8), [int(i) for i in rng.integers(0, 10, n)]


def python_bytes(data: np.ndarray, labels: list[int], protocol: int = 2) -> bytes:
    names = [f"picture_{i}.png".encode() for i in range(len(labels))]
    whole = {b"batch_label": b"training batch", b"labels": labels, b"data": data, b"filenames": names}
    return pickle.dumps(whole, protocol=protocol)


def python2_bytes(data: np.ndarray, labels: list[int]) -> bytes:
    """What Python 2's cPickle wrote: 8-bit strings throughout, and the array's bytes as one of them."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def number(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + value.to_bytes(2, "little")

    shape = number(len(data)) + number(3072) + b"\x86"
    dtype = b"cnumpy\ndtype\nq\x05" + text(b"u1") + b"K\x00K\x01\x87q\x06Rq\x07(K\x03"
    dtype += text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85" + text(b"b") + b"\x87R"
    )
    content = data.tobytes()
    array += b"(K\x01" + shape + dtype + b"\x89T" + len(content).to_bytes(4, "little") + content + b"tb"
    items = b"".join(number(label) for label in labels)
    listed = b"]q\x08(" + items + b"e"
    return b"\x80\x02}q\x01(" + text(b"data") + b"q\x02" + array + text(b"labels") + listed + b"u."


def binary_bytes(data: np.ndarray, labels: list[int]) -> bytes:
    return np.concatenate([np.array(labels, dtype=np.uint8)[:, None], data], 1).tobytes()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def expected(seeds: range | list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    parts = [batch(seed) for seed in seeds]
    images = torch.from_numpy(np.concatenate([data for data, _ in parts])).view(-1, 3, 32, 32)
    return images.float() / 127.5 - 1, torch.tensor([label for _, labels in parts for label in labels])


MAKERS = {"bin": binary_bytes, "py": python_bytes, "py2": python2_bytes}


def files(version: str, n: int = N) -> dict[str, bytes]:
    make, suffix = MAKERS[version], ".bin" if version == "bin" else ""
    content = {f"data_batch_{i}{suffix}": make(*batch(i, n)) for i in range(1, 6)}
    return {**content, f"test_batch{suffix}": make(*batch(6, n))}


@pytest.mark.parametrize("version", ["bin", "py", "py2"])
@pytest.mark.parametrize("form", ["tar", "folder", "flat", "gz"])
def test_every_form_gives_the_same_images(tmp_path, version, form):
    kind = version[:2] if version != "bin" else "bin"
    folder = f"cifar-10-batches-{kind}"
    if form == "tar":
        archive = "cifar-10-binary.tar.gz" if version == "bin" else "cifar-10-python.tar.gz"
        write_tar(tmp_path / archive, {f"{folder}/{name}": raw for name, raw in files(version).items()})
    else:
        place = tmp_path / "cifar10" / (folder if form == "folder" else "")
        place.mkdir(parents=True)
        for name, raw in files(version).items():
            zipped = form == "gz"
            (place / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(raw) if zipped else raw)
    data = CIFAR10(root=str(tmp_path), download=False)
    for split, seeds in (("train", range(1, 6)), ("test", [6])):
        images, labels = expected(list(seeds))
        examples = data.split(split).all()
        torch.testing.assert_close(examples.x, images)
        assert torch.equal(examples.cond["label"], labels)


@pytest.mark.parametrize("protocol", [1, 2, 3, 4])
def test_python_batches_of_other_protocols(protocol):
    data, labels = batch(0)
    images, read = read_python_batch(python_bytes(data, labels, protocol), "made")
    assert torch.equal(images.reshape(N, -1), torch.from_numpy(data))
    assert read.tolist() == labels


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


class EvilState:
    def __setstate__(self, state):
        raise AssertionError("executed")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_code_in_a_pickle_is_never_run(tmp_path, protocol):
    mark = tmp_path / "mark"
    raw = pickle.dumps({b"data": Evil(mark), b"labels": [1]}, protocol=protocol)
    with pytest.raises(DataError, match="which no batch needs"):
        read_python_batch(raw, "made")
    assert not mark.exists()
    pickle.loads(raw)
    assert mark.exists()  # the trap was live


@pytest.mark.parametrize(
    "raw",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
        b"(i__main__\nEvilState\n.",
        b"\x80\x02}(U\x04dataU\x01xU\x06labels]u.",
        b"\x80\x02]q\x00.",
        b"",
        b"\x80\x02}",
        b"not a pickle",
        b"t.",
        b"\x80\x02h\x05.",
    ],
)
def test_other_pickles_are_refused_in_one_line(raw):
    with pytest.raises(DataError, match="binary version") as caught:
        read_python_batch(raw, "made")
    assert str(caught.value).startswith("made ")


@pytest.mark.parametrize("cut", [1, 100, 3072 * N, 3072 * N + 200])
def test_truncated_python_batches(cut):
    raw = python2_bytes(*batch(0))
    with pytest.raises(DataError, match="no CIFAR-10 batch"):
        read_python_batch(raw[:-cut], "made")


def test_other_arrays_are_refused():
    data, labels = batch(0)
    for wrong in (data.astype(np.int16), np.asfortranarray(data), data[:, :3000]):
        with pytest.raises(DataError, match="no CIFAR-10 batch"):
            read_python_batch(python_bytes(wrong, labels), "made")
    with pytest.raises(DataError, match="beyond 0 to 9"):
        read_python_batch(python_bytes(data, [10, *labels[1:]]), "made")
    with pytest.raises(DataError, match="labels beside"):
        read_python_batch(python_bytes(data, labels[1:]), "made")


def test_bad_binary_batches():
    raw = binary_bytes(*batch(0))
    for wrong in (b"", raw[:-1], raw + b"x"):
        with pytest.raises(DataError, match="whole number of records"):
            read_binary_batch(wrong, "made")
    with pytest.raises(DataError, match="label 17"):
        read_binary_batch(b"\x11" + raw[1:], "made")


def test_channels_come_first():
    data = np.zeros((1, 3072), dtype=np.uint8)
    data[0, 1024:2048] = 255  # green
    data[0, 33] = 100  # red, second row, second column
    images, _ = read_binary_batch(binary_bytes(data, [3]), "made")
    assert images[0, 1].min() == 255
    assert images[0, 0, 1, 1] == 100


def test_missing_pieces_are_named(tmp_path):
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz or cifar-10-python\.tar\.gz") as caught:
        len(CIFAR10(root=str(tmp_path), download=False))
    assert "\n" not in str(caught.value)
    for name, raw in files("bin", 2).items():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_4\.bin"):
        len(CIFAR10(root=str(tmp_path), download=False))


def test_bad_archives(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_tar(path, {"cifar-10-batches-bin/test_batch.bin": binary_bytes(*batch(6))})
    with pytest.raises(DataError, match=r"no member data_batch_1\.bin"):
        len(CIFAR10(root=str(tmp_path), download=False))
    write_tar(path, {f"cifar-10-batches-bin/{name}": raw for name, raw in files("bin").items()})
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match="truncated or damaged"):
        len(CIFAR10(root=str(tmp_path), download=False))


@pytest.mark.parametrize("target", ["data_batch_1.bin", "elsewhere", "../../secret"])
def test_links_in_an_archive_are_not_followed(tmp_path, target):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo("data_batch_1.bin")
            link.type, link.linkname = kind, target
            tar.addfile(link)
    with pytest.raises(DataError, match=r"no member data_batch_1\.bin"):
        len(CIFAR10(root=str(tmp_path), download=False))
