"""Downloads, from a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from flowloom.errors import DataError
from flowloom_images.data import MNIST
from flowloom_images.data.fetch import fetch


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_good_file_arrives(server, tmp_path):
    folder, url = server
    (folder / "a").write_bytes(b"data" * 1000)
    target = tmp_path / "home" / "deep" / "a"
    assert fetch([f"{url}/a"], sha256(b"data" * 1000), target) == target
    assert target.read_bytes() == b"data" * 1000
    assert os.listdir(target.parent) == ["a"]


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    folder, url = server
    (folder / "a").write_bytes(b"altered")
    with pytest.raises(DataError, match="checksum is") as caught:
        fetch([f"{url}/a"], sha256(b"genuine"), tmp_path / "home" / "a")
    assert f"{url}/a" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path / "home") == []


def test_the_next_mirror_steps_in(server, tmp_path):
    folder, url = server
    (folder / "longer").write_bytes(b"a longer file that is not the right one")
    (folder / "good").write_bytes(b"good")
    target = tmp_path / "home" / "good"
    fetch([f"{url}/missing", f"{url}/longer", f"{url}/good"], sha256(b"good"), target)
    assert target.read_bytes() == b"good"


def test_an_older_file_survives_a_failed_download(server, tmp_path):
    _, url = server
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(DataError, match="could not download"):
        fetch([f"{url}/missing"], sha256(b""), target)
    assert target.read_bytes() == b"old"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(server, tmp_path):
    _, url = server
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    with pytest.raises(DataError, match="set FLOWLOOM_DATA"):
        fetch([f"{url}/a"], sha256(b""), home / "a")


def test_a_home_that_is_a_file_is_named(server, tmp_path):
    _, url = server
    (tmp_path / "home").write_bytes(b"")
    with pytest.raises(DataError, match="set FLOWLOOM_DATA"):
        fetch([f"{url}/a"], sha256(b""), tmp_path / "home" / "a")


def test_mnist_downloads_what_is_missing(server, tmp_path, monkeypatch):
    folder, url = server
    checksums = {}
    for stem, shape in (("t10k-images-idx3-ubyte", (20, 28, 28)), ("t10k-labels-idx1-ubyte", (20,))):
        head = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
        content = gzip.compress(head + bytes(torch.Size(shape).numel()))
        (folder / f"{stem}.gz").write_bytes(content)
        checksums[stem] = sha256(content)
    monkeypatch.setattr(MNIST, "mirrors", (f"{url}/",))
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
