"""Downloads, from a server on this machine."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pytest_socket import SocketConnectBlockedError

from flowloom.data.files import data_home, fetch, find, folders
from flowloom.errors import DataError


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


def test_a_file_without_a_stated_checksum_is_taken_as_it_comes(server, tmp_path):
    folder, url = server
    (folder / "a").write_bytes(b"anything")
    assert fetch([f"{url}/a"], None, tmp_path / "home" / "a").read_bytes() == b"anything"


def test_files_are_looked_for_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    assert data_home() == tmp_path
    places = folders(None, ("mnist", "."))
    assert find(places, ["a", "b"]) is None
    (tmp_path / "b").touch()
    assert find(places, ["a", "b"]) == tmp_path / "b"
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "b").touch()
    assert find(places, ["a", "b"]) == tmp_path / "mnist" / "b"
    assert folders("~/x", ["y"])[0].is_absolute()
    monkeypatch.delenv("FLOWLOOM_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_home() == tmp_path / "cache" / "flowloom" / "data"


def test_the_network_is_closed_here():
    with pytest.warns(UserWarning, match="tried to use socket"), pytest.raises(SocketConnectBlockedError):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


def answering(answer):
    """A server that gives one such answer to whoever asks first, and hangs up."""
    strange = socket.create_server(("127.0.0.1", 0))

    def reply():
        connection, _ = strange.accept()
        with strange, connection:
            connection.recv(65536)
            connection.sendall(answer)

    threading.Thread(target=reply).start()
    return f"http://127.0.0.1:{strange.getsockname()[1]}/a"


def test_a_connection_that_ends_early_gives_no_file(server, tmp_path):
    folder, url = server
    (folder / "a").write_bytes(b"data")
    early = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nda"
    with pytest.raises(DataError, match="ended after 2 of 4 bytes"):
        fetch([answering(early)], None, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    fetch([answering(early), f"{url}/a"], None, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"data"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "the file is empty"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "the answer is 204 No Content"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\nda", "the answer is 206"),
    ],
)
def test_nothing_and_a_part_are_no_file(tmp_path, answer, said):
    with pytest.raises(DataError, match=said):
        fetch([answering(answer)], None, tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_full_at_the_very_end_is_told(server, tmp_path, monkeypatch):
    """What is held back is written when the file is closed."""
    folder, url = server
    (folder / "a").write_bytes(b"data")
    whole = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self.file

        def __exit__(self, *_):
            self.file.close()
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda *words: Full(whole(*words)))
    with pytest.raises(DataError, match="No space left on device"):
        fetch([f"{url}/a"], None, tmp_path / "home" / "a")
    assert os.listdir(tmp_path / "home") == []


def test_what_has_no_room_is_not_begun(tmp_path):
    huge = b"HTTP/1.1 200 OK\r\nContent-Length: 4000000000000000\r\n\r\nda"
    with pytest.raises(DataError, match=r"has 4,000,000\.0 GB where .* GB are free"):
        fetch([answering(huge)], None, tmp_path / "a")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n",
    ],
)
def test_a_mirror_that_speaks_no_http_is_passed_over(server, tmp_path, answer):
    folder, url = server
    (folder / "a").write_bytes(b"data")
    fetch([answering(answer), f"{url}/a"], sha256(b"data"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"data"


def test_a_folder_in_the_place_of_a_file_is_named(server, tmp_path):
    folder, url = server
    (folder / "a").write_bytes(b"data")
    (tmp_path / "a" / "inside").mkdir(parents=True)
    with pytest.raises(DataError, match=r"cannot write .*a \("):
        fetch([f"{url}/a"], None, tmp_path / "a")
