"""Runs pushed to and pulled from a hub, which is a small server on this machine; cards; what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

pytest.importorskip("huggingface_hub", reason="pip install 'flowloom[hub]'")

from flowloom_registry.cli import main
from flowloom_registry.delivery.hub import MANIFEST

COMMIT = "c" * 40


class Hub:
    """Repositories in memory, over the part of the hub's HTTP interface that pushing and pulling use."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                for name, text in {"Content-Length": str(len(data)), **(headers or {})}.items():
                    self.send_header(name, text)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if not body and self.headers.get("Transfer-Encoding") == "chunked":
                    while (size := int(self.rfile.readline(), 16)) > 0:
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                path = self.path.partition("?")[0].strip("/").split("/")
                if path[:3] == ["api", "repos", "create"]:
                    hub.files.setdefault("me/flow", {})
                    self.answer({"url": f"{hub.url}/me/flow"})
                elif path[1] == "validate-yaml":
                    self.answer({"errors": [], "warnings": []})
                elif "preupload" in path:
                    asked = json.loads(body)["files"]
                    modes = [
                        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
                    ]
                    self.answer({"files": modes})
                elif "commit" in path:
                    for line in body.decode().splitlines():
                        one = json.loads(line)
                        if one["key"] == "file":
                            value = one["value"]
                            hub.files["/".join(path[2:4])][value["path"]] = base64.b64decode(value["content"])
                    self.answer(
                        {
                            "success": True,
                            "commitOid": COMMIT,
                            "commitUrl": f"{hub.url}/me/flow/commit/{COMMIT}",
                        }
                    )
                else:
                    self.answer({"error": "no such place"}, 404)

            def do_GET(self) -> None:
                path = self.path.partition("?")[0].strip("/").split("/")
                if path[0] == "api":
                    repo = "/".join(path[2:4])
                    if repo not in hub.files:
                        self.answer({"error": "no"}, 404, {"X-Error-Code": "RepoNotFound"})
                        return
                    told = [{"rfilename": name} for name in hub.files[repo]]
                    self.answer({"id": repo, "modelId": repo, "sha": COMMIT, "siblings": told, "tags": []})
                    return
                data = hub.files.get("/".join(path[:2]), {}).get("/".join(path[4:]))
                if data is None:
                    self.answer({"error": "no"}, 404, {"X-Error-Code": "EntryNotFound"})
                    return
                etag = hashlib.sha256(data).hexdigest()
                self.answer(data, headers={"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

            do_HEAD = do_GET  # noqa: N815  (as the library calls it)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    one = Hub()
    endpoint = one.url
    import huggingface_hub.constants as constants

    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    # The package reads its environment once, when it is imported.
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def pushed(hub: Hub, finished: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Hub, str]:
    assert main(["push", str(finished), "me/flow"]) == 0
    return hub, capsys.readouterr().out.rpartition("--sha256 ")[2].strip()


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1, err
    return err


def test_there_and_back(pushed: tuple[Hub, str], finished: Path, tmp_path: Path) -> None:
    hub, digest = pushed
    out = tmp_path / "theirs"
    assert main(["pull", "me/flow", str(out), "--sha256", digest]) == 0
    there, back = load_file(finished / "flow.safetensors"), load_file(out / "flow.safetensors")
    assert all(value.equal(back[name]) for name, value in there.items())
    assert main(["sample", str(out), "-n", "3"]) == 0
    assert main(["report", str(out)]) == 0
    assert not (out / "checkpoints").exists()
    assert not [name for name in hub.files["me/flow"] if "checkpoints" in name or name.startswith(".")]
    assert not (out / "README.md").exists(), "what the manifest does not list is no part of the run"


def test_the_card(pushed: tuple[Hub, str]) -> None:
    import yaml

    text = pushed[0].files["me/flow"]["README.md"].decode()
    head = yaml.safe_load(text.split("---")[1])
    assert head["library_name"] == "flowloom"
    metrics = head["model-index"][0]["results"][0]["metrics"]
    assert metrics[0]["name"] == "energy_distance"
    assert "![samples](samples/samples.png)" in text
    assert "samples/samples.png" in pushed[0].files["me/flow"]
    assert "| energy_distance ↓ |" in text
    assert "pip install 'flowloom[hub]'\nflowloom pull me/flow run" in text
    assert "use: mlp" in text or "mlp" in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../evil.json", "no file of a run"),
        ("/etc/evil.json", "no file of a run"),
        ("samples/../../evil.json", "no file of a run"),
        ("a\\..\\evil.json", "no file of a run"),
        (".git/config.json", "no file of a run"),
        ("weights.pkl", "no file of a run"),
        ("code.py", "no file of a run"),
        ("a\0.json", "no file of a run"),
        ("a\ud800.json", "no file of a run"),
        ("a\nb.json", "no file of a run"),
        ("a" * 300 + ".json", "no file of a run"),
    ],
)
def test_a_manifest_that_leads_elsewhere(pushed, tmp_path, capsys, name, said) -> None:
    hub, _ = pushed
    told = json.loads(hub.files["me/flow"][MANIFEST])
    told["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    hub.files["me/flow"][MANIFEST] = json.dumps(told).encode()
    hub.files["me/flow"][name] = b"x"
    before = sorted(p.name for p in tmp_path.iterdir() if p.name != "cache")
    assert said in refused(["pull", "me/flow", str(tmp_path / "out")], capsys)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == before


@pytest.mark.parametrize("size", [-1, True, 1.0, "1"])
def test_a_manifest_with_no_size(pushed, tmp_path, capsys, size) -> None:
    hub, _ = pushed
    told = json.loads(hub.files["me/flow"][MANIFEST])
    told["files"]["x.json"] = {"sha256": "0" * 64, "bytes": size}
    hub.files["me/flow"][MANIFEST] = json.dumps(told).encode()
    assert "says no hash and size" in refused(["pull", "me/flow", str(tmp_path / "out")], capsys)


def test_a_file_that_was_changed(pushed, tmp_path, capsys) -> None:
    hub, digest = pushed
    weights = hub.files["me/flow"]["flow.safetensors"]
    hub.files["me/flow"]["flow.safetensors"] = weights[:-1] + bytes([weights[-1] ^ 1])
    line = refused(["pull", "me/flow", str(tmp_path / "out")], capsys)
    assert "flow.safetensors is not what its manifest says" in line
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    told = json.loads(hub.files["me/flow"][MANIFEST])
    told["files"].pop("report.html")
    hub.files["me/flow"][MANIFEST] = json.dumps(told).encode()
    assert "another hash" in refused(["pull", "me/flow", str(tmp_path / "o"), "--sha256", digest], capsys)


class TestBadInput:
    def test_what_cannot_be_pulled(self, hub, finished, tmp_path, capsys):
        assert "there is none, or it is private" in refused(["pull", "me/none", str(tmp_path / "a")], capsys)
        hub.files["me/empty"] = {}
        assert "it holds no run" in refused(["pull", "me/empty", str(tmp_path / "a")], capsys)
        hub.files["me/odd"] = {MANIFEST: b'{"format": 9}'}
        assert "no run of this version" in refused(["pull", "me/odd", str(tmp_path / "a")], capsys)
        (tmp_path / "there").mkdir()
        assert "is there already" in refused(["pull", "me/flow", str(tmp_path / "there")], capsys)

    @pytest.mark.parametrize(
        "name", ["bad name!!", "a/b/c", "", "me/", "me/-x", "me/x.git", "me/a--b", "me/é"]
    )
    def test_names(self, finished, tmp_path, capsys, name):
        for words in (["push", str(finished), name, "--card"], ["pull", name, str(tmp_path / "b")]):
            assert "is no name on the hub: write OWNER/NAME" in refused(words, capsys)
        assert not (tmp_path / "b").exists()

    def test_what_cannot_be_pushed(self, hub, finished, tmp_path, capsys):
        assert "status.json" in refused(["push", str(tmp_path), "me/flow"], capsys)
        import shutil

        copy = Path(shutil.copytree(finished, tmp_path / "run"))
        (copy / "samples" / "passwords.json").symlink_to("/etc/passwd")
        assert "is a link" in refused(["push", str(copy), "me/flow"], capsys)
        status = json.loads((copy / "status.json").read_text())
        (copy / "status.json").write_text(json.dumps({**status, "state": "training"}))
        assert "is training, not finished" in refused(["push", str(copy), "me/flow"], capsys)

    def test_nobody_answers(self, finished, tmp_path, capsys, hub):
        hub.server.shutdown()
        hub.server.server_close()
        line = refused(["pull", "me/flow", str(tmp_path / "out")], capsys)
        assert "cannot be reached" in line

    def test_without_the_package(self, finished, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert "pip install 'flowloom[hub]'" in refused(["push", str(finished), "me/flow"], capsys)
        assert "pip install 'flowloom[hub]'" in refused(["pull", "me/flow"], capsys)
