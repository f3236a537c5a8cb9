"""A run that answers over HTTP: what it draws, what it refuses, and a flood."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from flowloom.errors import FlowloomError
from flowloom_registry.cli import main
from flowloom_registry.cli.serve import PACKAGES
from flowloom_registry.runs.open import open_run

for package in PACKAGES:
    pytest.importorskip(package, reason=f"serving needs {package}: pip install 'flowloom[serve]'")

from flowloom_registry.delivery.listening import bind  # noqa: E402
from flowloom_registry.delivery.service import Asked, Limits, Service  # noqa: E402
from flowloom_registry.delivery.web import Bounds, server_of  # noqa: E402

JSON = {"Content-Type": "application/json"}


class Server:
    def __init__(self, service: Service, port: int) -> None:
        self.service, self.port = service, port

    def ask(self, body: Any, path: str = "/sample", method: str = "POST", **headers: str):
        """Status, headers and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, data, {**JSON, **headers} if data is not None else headers)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, said


@contextmanager
def serving(run: Path, limits: Limits, bounds: Bounds) -> Iterator[Server]:
    assembly, _ = open_run(run)
    service = Service(assembly, limits)
    bound = bind("127.0.0.1", 0)
    server = server_of(service, bounds)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Server(service, bound.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(10)
        bound.close()


@pytest.fixture(scope="module")
def server(finished: Path) -> Iterator[Server]:
    with serving(finished, Limits(n=8, steps=10, queue=4), Bounds(body=4096, timeout=10)) as one:
        yield one


def test_it_draws_what_the_run_draws(server: Server) -> None:
    status, headers, body = server.ask({"n": 3, "seed": 5, "cond": {"label": [0, 1, 2]}})
    assert status == 200
    value = json.loads(body)
    flow = server.service.assembly.flow
    right = flow.solve(3, seed=5, cond={"label": [0, 1, 2]}).x
    assert (torch.tensor(value["x"]) - right).abs().max() < 1e-6
    assert value["cond"] == {"label": [0, 1, 2]}
    assert value["evaluations"] == 8
    assert headers["x-seed"] == "5"


def test_steps_and_names_of_conditions(server: Server) -> None:
    value = json.loads(server.ask({"n": 2, "steps": 3, "cond": {"label": 7}})[2])
    assert value["evaluations"] == 12
    assert value["cond"]["label"] == [7, 7]
    again = json.loads(server.ask({"n": 2, "seed": value["seed"], "steps": 3, "cond": {"label": 7}})[2])
    assert again["x"] == value["x"], "the seed of an answer draws it again"


def test_pictures(server: Server) -> None:
    status, headers, body = server.ask({"n": 4, "seed": 0}, Accept="image/png")
    assert (status, headers["content-type"]) == (200, "image/png")
    assert body.startswith(b"\x89PNG")
    value = json.loads(server.ask({"n": 4, "seed": 0, "show": True})[2])
    assert base64.b64decode(value["figures"][0]["data"]).startswith(b"\x89PNG")
    assert server.ask({"n": 1}, Accept="audio/wav")[0] == 406


def test_requests_share_a_batch_and_keep_their_own_draws(server: Server) -> None:
    alone = [json.loads(server.ask({"n": 2, "seed": i, "cond": {"label": i}})[2])["x"] for i in range(4)]
    answers: list[Any] = [None] * 4
    service = server.service
    before = service._answer
    batches: list[int] = []

    def counted(together):
        batches.append(len(together))
        before(together)

    service._answer = counted  # type: ignore[method-assign]
    try:
        with service._changed:  # nobody draws until all of them wait
            futures = [service.submit(Asked(2, i, {"label": i})) for i in range(4)]
        answers = [future.result(10).examples.x for future in futures]
    finally:
        service._answer = before  # type: ignore[method-assign]
    assert max(batches) == 4
    for one, other in zip(alone, answers, strict=True):
        assert (torch.tensor(one) - other).abs().max() < 1e-6


def test_health_and_what_may_be_asked(server: Server) -> None:
    status, headers, body = server.ask(None, "/health", "GET")
    assert status == 200
    assert json.loads(body)["status"] == "ok"
    told = json.loads(server.ask(None, "/", "GET")[2])
    assert told["conditions"]["label"]["classes"] == 8
    assert told["answers"] == ["application/json", "image/png"], "what this run shows, and no more"
    assert told["sample"]["seed"] is None, "one is drawn"
    assert server.ask(told["sample"])[0] == 200, "what it tells can be asked"
    assert told["limits"] == {"n": 8, "steps": 10, "queue": 4}
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers, "nobody is told what to attack"


REFUSED = [
    ({"n": 9}, 400, "from 1 to 8, got 9"),
    ({"n": 0}, 400, "n must be a whole number"),
    ({"n": True}, 400, "n must be a whole number"),
    ({"n": "3"}, 400, "n must be a whole number"),
    ({"steps": 11}, 400, "steps must be a whole number from 1 to 10"),
    ({"seed": -1}, 400, "seed must be"),
    ({"seed": 10**30}, 400, "seed must be"),
    ({"sed": 1}, 400, "seed"),
    ({"solver": "./evil.py:Solver"}, 400, "unknown key"),
    ({"cond": {"label": 8}}, 400, "0 to 7"),
    ({"cond": {"label": True}}, 400, "not true or false"),
    ({"n": 2, "cond": {"label": [1, True]}}, 400, "not true or false"),
    ({"cond": {"label": "@/etc/passwd"}}, 400, "label"),
    ({"cond": {"labl": 1}}, 400, "unknown condition"),
    ({"cond": {"label": [1, 2]}}, 400, "2 rows for 1"),
    ({"cond": [1]}, 400, "cond must be an object"),
    ([], 400, "JSON object"),
    (b"{", 400, "no JSON"),
    (b'{"n": NaN}', 400, "no JSON"),
    (b"[" * 4000, 400, "no JSON"),
    (b'{"x": "' + b"a" * 5000 + b'"}', 413, "4096 bytes"),
]


@pytest.mark.parametrize(("body", "status", "said"), REFUSED, ids=lambda v: str(v)[:24])
def test_what_is_refused(server: Server, body: Any, status: int, said: str) -> None:
    found, headers, answer = server.ask(body)
    assert found == status, answer
    error = json.loads(answer)["error"]
    assert said in error
    assert "\n" not in error
    assert "Traceback" not in error
    assert headers["x-content-type-options"] == "nosniff"


def test_a_page_of_another_site_gets_nothing(server: Server) -> None:
    """No content type that a page may send unasked, no CORS, and no name that was bent to this address."""
    assert server.ask({"n": 1}, **{"Content-Type": "text/plain"})[0] == 415
    status, headers, _ = server.ask(
        None, "/sample", "OPTIONS", Origin="http://evil.example", **{"Access-Control-Request-Method": "POST"}
    )
    assert status == 405
    assert not [name for name in headers if name.startswith("access-control")]
    assert not [n for n in server.ask({"n": 1}, Origin="http://evil.example")[1] if "access-control" in n]
    assert server.ask({"n": 1}, Host="evil.example")[0] == 400
    assert server.ask(None, "/../status.json", "GET")[0] == 404
    assert server.ask(None, "/sample", "GET")[0] == 405


def refusal(port: int, *pieces: bytes) -> tuple[bytes, dict[str, Any]]:
    """Head and JSON of what is answered to bytes on a connection of their own."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        for piece in pieces:
            raw.sendall(piece)
        said = b""
        while got := raw.recv(4096):
            said += got
    head, _, body = said.partition(b"\r\n\r\n")
    return head.lower(), json.loads(body)


def test_every_refusal_is_one_line_of_json(server: Server) -> None:
    head, told = refusal(server.port, b"nonsense\r\n\r\n")
    assert head.startswith(b"http/1.1 400")
    assert b"x-content-type-options: nosniff" in head
    assert set(told) == {"error"}
    for name in ("evil.example", "localhost.evil", "[::2]", ""):
        status, headers, body = server.ask(None, "/health", "GET", Host=name)
        assert (status, headers["content-type"]) == (400, "application/json")
        assert "another name" in json.loads(body)["error"]
    assert server.ask(None, "/health", "GET", Host="[::1]:8008")[0] == 200


def test_idle_connections_keep_nobody_out(finished: Path) -> None:
    """More than may be open at a time, which ask for nothing or never end their heads."""
    with serving(finished, Limits(), Bounds(connections=8, idle=1)) as server:
        held = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(20)]
        held[-1].sendall(b"GET /health HTTP/1.1\r\n")
        assert server.ask({"n": 1})[0] == 200
        for one in held:
            one.settimeout(5)
            assert one.recv(1) == b"", "closed after a second"
            one.close()


def test_too_many_requests_at_a_time_are_told_when_to_come_again(finished: Path) -> None:
    with serving(finished, Limits(), Bounds(connections=2)) as server:
        head = b"POST /sample HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        for one in held:
            one.sendall(head + b"Content-Length: 9\r\n\r\n")  # a body that does not come
        time.sleep(0.3)
        status, headers, body = server.ask(None, "/health", "GET")
        assert (status, headers["retry-after"]) == (503, "1")
        assert "try again" in json.loads(body)["error"]
        for one in held:
            one.close()


def test_a_body_without_a_length_is_bounded_too(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        head = "POST /sample HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        raw.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n" + b"10\r\n" + b" " * 16 + b"\r\n")
        assert b" 413 " in raw.recv(200)


def test_a_bug_shows_no_traceback(server: Server, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a secret of the machine")

    monkeypatch.setattr(server.service, "_solved", broken)
    status, _, body = server.ask({"n": 1})
    assert status == 500
    assert b"secret" not in body
    monkeypatch.undo()
    assert server.ask({"n": 1})[0] == 200, "it goes on"


def test_a_flood_is_turned_away(finished: Path) -> None:
    """Forty at once on a queue of four: some are drawn, the others told when to come again, none is lost."""
    with serving(finished, Limits(n=8, queue=4, batch=8), Bounds(timeout=20)) as server:
        service = server.service
        before = service._solved

        def slow(together):
            time.sleep(0.05)
            return before(together)

        service._solved = slow  # type: ignore[method-assign]
        answers: list[tuple[int, dict[str, str], bytes]] = []
        threads = [
            threading.Thread(target=lambda i=i: answers.append(server.ask({"n": 8, "seed": i})))
            for i in range(40)
        ]
        for thread in threads:
            thread.start()
        status, _, _ = server.ask(None, "/health", "GET")
        for thread in threads:
            thread.join(30)
        assert status == 200, "its health can be asked meanwhile"
        codes = [status for status, _, _ in answers]
        assert len(codes) == 40
        assert set(codes) == {200, 503}
        assert codes.count(200) >= 5
        turned = next(one for one in answers if one[0] == 503)
        assert int(turned[1]["retry-after"]) >= 1
        assert "try again in" in json.loads(turned[2])["error"]
        assert server.ask({"n": 1})[0] == 200, "and it goes on"
        assert service.refused == codes.count(503)


def test_an_answer_that_takes_too_long(finished: Path) -> None:
    with serving(finished, Limits(queue=4), Bounds(timeout=0.3)) as server:
        before = server.service._solved

        def slow(together):
            time.sleep(1.0)
            return before(together)

        server.service._solved = slow  # type: ignore[method-assign]
        status, _, body = server.ask({"n": 1})
        assert status == 504
        assert "0.3 s" in json.loads(body)["error"]


def test_from_the_command_line(finished: Path) -> None:
    words = [sys.executable, "-m", "flowloom_registry", "serve", str(finished), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "serving small on http://127.0.0.1:" in line, process.communicate()[1]
    port = int(line.partition("127.0.0.1:")[2].split()[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/sample", b'{"n": 2}', JSON)
    assert connection.getresponse().status == 200
    connection.close()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors == ""


class TestBadInput:
    def refused(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
        assert main(words) == 2
        err = capsys.readouterr().err
        assert len(err.strip().splitlines()) == 1, err
        return err

    def test_a_port_in_use(self, finished, capsys):
        with bind("127.0.0.1", 0) as taken:
            port = str(taken.getsockname()[1])
            line = self.refused(["serve", str(finished), "--port", port], capsys)
        assert f"127.0.0.1:{port}: address already in use" in line

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--port", "70000"], "--port must be from 0"),
            (["--max-n", "0"], "--max-n must be at least 1"),
            (["--queue", "0"], "--queue"),
            (["--timeout", "0"], "--timeout"),
            (["--host", "256.0.0.1"], "256.0.0.1"),
        ],
    )
    def test_options(self, finished, capsys, words, said):
        assert said in self.refused(["serve", str(finished), *words], capsys)

    def test_without_the_packages(self, finished, capsys, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert "pip install 'flowloom[serve]'" in self.refused(["serve", str(finished)], capsys)

    def test_a_damaged_run(self, finished, tmp_path, capsys):
        copy = Path(shutil.copytree(finished, tmp_path / "run"))
        (copy / "flow.safetensors").write_bytes(b"short")
        assert "damaged" in self.refused(["serve", str(copy), "--port", "0"], capsys)

    def test_steps_of_a_solver_that_chooses_its_own(self, finished):
        assembly, _ = open_run(finished)
        from flowloom.solvers import Adaptive

        assembly.flow.solver = Adaptive()
        service = Service(assembly, Limits())
        try:
            with pytest.raises(FlowloomError, match="chooses its own steps"):
                service.submit(Asked(1, 0, {}, steps=3))
        finally:
            service.close()
