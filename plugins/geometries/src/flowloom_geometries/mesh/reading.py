"""Triangle meshes from OBJ and OFF files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from flowloom.errors import DataError


def read_mesh(file: str | Path) -> tuple[Tensor, Tensor]:
    """Vertices ``(V, 3)`` in float64 and triangles ``(F, 3)`` in int64 of an ``.obj`` or ``.off`` file.

    Polygons are cut into fans of triangles; texture coordinates and normals are skipped.

    Raises:
        DataError: the file is missing, of another kind, or a line is malformed (``file:line`` is named).
    """
    file = Path(file)
    readers = {".obj": _obj, ".off": _off}
    if file.suffix.lower() not in readers:
        raise DataError(f"{file}: a mesh is an .obj or .off file")
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"cannot read mesh {file}: {error.strerror or error}") from error
    points, faces = readers[file.suffix.lower()](file, lines)
    if not points or not faces:
        raise DataError(f"{file} holds {len(points)} vertices and {len(faces)} triangles; a mesh needs both")
    vertices, triangles = torch.tensor(points, dtype=torch.float64), torch.tensor(faces)
    low, high = int(triangles.min()), int(triangles.max())
    if low < 0 or high >= len(points):
        wrong = low if low < 0 else high
        raise DataError(f"{file}: a face names vertex {wrong + 1}, and there are {len(points)}")
    return vertices, triangles


def _obj(file: Path, lines: list[str]) -> tuple[list[list[float]], list[list[int]]]:
    points: list[list[float]] = []
    faces: list[list[int]] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0] not in ("v", "f"):
            continue
        try:
            if words[0] == "v":
                points.append([float(w) for w in words[1:4]])
                if len(points[-1]) != 3:
                    raise ValueError
            else:
                raw = [int(w.split("/")[0]) for w in words[1:]]
                # Negative numbers count back from the latest vertex.
                corners = [i - 1 if i > 0 else len(points) + i for i in raw]
                faces.extend(_fan(corners))
        except ValueError as error:
            raise DataError(f"{file}:{number}: not a {_WHAT[words[0]]}: {line.strip()!r}") from error
    return points, faces


def _off(file: Path, lines: list[str]) -> tuple[list[list[float]], list[list[int]]]:
    rows = [(n, line.split("#")[0].split()) for n, line in enumerate(lines, 1)]
    rows = [(n, words) for n, words in rows if words]
    if not rows or rows[0][1][0] != "OFF":
        raise DataError(f"{file}:1: an OFF file begins with the word OFF")
    number, head = rows[0][0], rows[0][1][1:]
    body = rows[1:]
    if not head and body:
        (number, head), body = body[0], body[1:]
    try:
        n_points, n_faces = int(head[0]), int(head[1])
    except (IndexError, ValueError) as error:
        raise DataError(f"{file}:{number}: expected the counts of vertices and faces") from error
    if len(body) < n_points + n_faces:
        raise DataError(f"{file} is truncated: {n_points} vertices and {n_faces} faces were promised")
    points: list[list[float]] = []
    faces: list[list[int]] = []
    for index, (number, words) in enumerate(body[: n_points + n_faces]):
        try:
            if index < n_points:
                points.append([float(w) for w in words[:3]])
                if len(points[-1]) != 3:
                    raise ValueError
            else:
                count = int(words[0])
                corners = [int(w) for w in words[1 : 1 + count]]
                if len(corners) != count:
                    raise ValueError
                faces.extend(_fan(corners))
        except ValueError as error:
            what = _WHAT["v" if index < n_points else "f"]
            raise DataError(f"{file}:{number}: not a {what}: {' '.join(words)!r}") from error
    return points, faces


_WHAT = {"v": "vertex of three numbers", "f": "face of three or more vertex numbers"}


def _fan(corners: list[int]) -> list[list[int]]:
    if len(corners) < 3:
        raise ValueError("a face has three corners or more")
    return [[corners[0], corners[i], corners[i + 1]] for i in range(1, len(corners) - 1)]
