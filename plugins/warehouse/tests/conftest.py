"""Small files of every form, written on the spot; nothing is fetched."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def apart_from_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches and indexes lie in the folder of the test."""
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def rows(n: int) -> dict[str, Any]:
    draws = np.random.default_rng(0)
    return {
        "x": draws.normal(size=(n, 3)).astype("float32").tolist(),
        "label": (np.arange(n) % 4).tolist(),
        "kind": ["cat" if i % 2 else "dog" for i in range(n)],
    }


def tar(file: Path, first: int, n: int, *, endings: str = "all") -> None:
    """A shard: states, a class, a JSON and a picture each."""
    with tarfile.open(file, "w") as out:
        for i in range(first, first + n):
            buffer = io.BytesIO()
            np.save(buffer, np.full(3, i, dtype="float32"))
            said = {"npy": buffer.getvalue(), "cls": str(i % 4).encode()}
            if endings == "all":
                said["meta.json"] = json.dumps({"weight": i / 2}).encode()
                said["png"] = picture(i)
            for ending, data in said.items():
                member = tarfile.TarInfo(f"{i:06d}.{ending}")
                member.size = len(data)
                out.addfile(member, io.BytesIO(data))


def picture(i: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), i % 256, dtype="uint8")).save(buffer, "PNG")
    return buffer.getvalue()
