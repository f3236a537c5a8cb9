"""Runs on the Hugging Face hub: pushed in one commit with a card and hashes, pulled whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from flowloom.errors import FlowloomError, RunError
from flowloom_registry.delivery.card import card
from flowloom_registry.runs.folder import RunFolder, hash_file, read_json

__all__ = ["MANIFEST", "pull", "push", "require_name"]

MANIFEST = "flowloom.json"
"""Lists the files of a run with their hashes; what it does not list is no part of the run."""
FORMAT = 1
_ENDINGS = {".yaml", ".json", ".jsonl", ".safetensors", ".html", ".png", ".svg", ".wav", ".csv"}
"""Of files that a run may have: nothing that is unpickled or run."""
_NOT_GIVEN = {"checkpoints", "made", "tensorboard", "export", "wandb"}
"""Folders that only training needs, or that can be made again."""
_MOST = 20_000
"""Files of a run, at most."""
_LONGEST = 200
"""Bytes of a part of a name, at most: less than what file systems take."""


def require_name(repo: str) -> None:
    """Ask for what the hub takes as a name; it does so where its own package is missing.

    Raises:
        RunError: it is none; says what one is.
    """
    parts = repo.split("/")
    plain = all(re.fullmatch(r"[A-Za-z0-9_]([\w.-]{0,94}[A-Za-z0-9_])?", part, re.ASCII) for part in parts)
    if not plain or len(parts) > 2 or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise RunError(
            f"{repo!r} is no name on the hub: write OWNER/NAME, of letters, digits, '-', '_' and '.', "
            "which begin and end with no '-' or '.' (nor with '.git'), and no two of these in a row"
        )


def push(
    folder: RunFolder, repo: str, *, private: bool = False, message: str = "", revision: str | None = None
) -> tuple[str, str]:
    """Upload a finished run; returns the address of the commit and the hash of the manifest.

    Args:
        folder: of the run.
        repo: ``owner/name``, made where it is not there.
        private: whether a new repository is private.
        message: of the commit.
        revision: branch; the main one where None.

    Raises:
        RunError: the run is not finished, holds a link, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    status = folder.status()
    if status["state"] != "finished":
        raise RunError(f"{folder.path} is {status['state']}, not finished; go on with: {folder.going_on()}")
    files = dict(_files(folder.path))
    told = {
        "format": FORMAT,
        "files": {
            name: {"sha256": hash_file(file), "bytes": file.stat().st_size} for name, file in files.items()
        },
    }
    manifest = (json.dumps(told, indent=1, sort_keys=True) + "\n").encode()
    operations = [
        *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(file)) for name, file in files.items()),
        CommitOperationAdd(path_in_repo=MANIFEST, path_or_fileobj=manifest),
        CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=card(folder, repo).encode()),
    ]
    with _told(f"pushing to {repo}"):
        hub = HfApi()
        hub.create_repo(repo, private=private, exist_ok=True)
        done = hub.create_commit(
            repo,
            operations,
            commit_message=message or f"Run {folder.path.name}, by flowloom push",
            revision=revision,
        )
    return str(done.commit_url), hashlib.sha256(manifest).hexdigest()


def pull(repo: str, out: Path, *, revision: str | None = None, sha256: str | None = None) -> None:
    """Download a run, whose every file must have the hash that its manifest says.

    Nothing is unpickled or run, and nothing is written outside of ``out``, which appears when all of it is
    there. The manifest comes from the same place as the files: its own hash, which ``push`` prints, tells
    whether it is the one that its author made.

    Args:
        repo: ``owner/name``.
        out: where to put it; must not be there.
        revision: branch, tag or commit; the main branch where None.
        sha256: of the manifest, where its author has told it.

    Raises:
        RunError: ``out`` is there, the repository holds no run, or a file is not what it should be.
    """
    from huggingface_hub import HfApi, hf_hub_download

    if out.exists():
        raise RunError(f"{out} is there already; choose another folder")
    with _told(f"pulling {repo}"):
        commit = str(HfApi().model_info(repo, revision=revision).sha)

    def fetched(name: str) -> Path:
        with _told(f"pulling {repo}"):
            return Path(hf_hub_download(repo, name, revision=commit))

    manifest = fetched(MANIFEST)
    if sha256 is not None and hash_file(manifest) != sha256.lower():
        raise RunError(f"{repo} is not the run that was meant: its {MANIFEST} has another hash")
    files = _listed(read_json(manifest), repo)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, told in files.items():
            _take(fetched(name), partial / name, told, f"{repo}: {name}")
        RunFolder(partial).status()
        partial.chmod(0o755)
        os.rename(partial, out)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Files of a run that others need, by their name in the repository."""
    for place, folders, names in os.walk(path):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (here != path or name not in _NOT_GIVEN)
        )
        for name in (*folders, *names):
            if (here / name).is_symlink():
                raise RunError(
                    f"{here / name} is a link; a run is pushed with its own files only, so remove it"
                )
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix in _ENDINGS:
                yield (here / name).relative_to(path).as_posix(), here / name


def _listed(manifest: dict[str, Any], repo: str) -> dict[str, dict[str, Any]]:
    """Files of a manifest, none of which leaves the folder.

    Raises:
        RunError: it is of another form, or names a file that no run has.
    """
    files = manifest.get("files")
    if manifest.get("format") != FORMAT or not isinstance(files, dict) or not 0 < len(files) <= _MOST:
        raise RunError(f"{repo} holds no run of this version of flowloom ({MANIFEST} lists no files)")
    for name, told in files.items():
        path = PurePosixPath(name)
        strange = (
            path.is_absolute()
            or "\\" in name
            or ":" in name
            or not name.isprintable()  # no NUL, line break or lone surrogate, which no system call takes
            or any(len(part.encode()) > _LONGEST for part in path.parts)
            or str(path) != name
            or any(part in ("..", ".") or part.startswith(".") for part in path.parts)
            or path.suffix not in _ENDINGS
        )
        if strange:
            raise RunError(f"{repo} is refused: {MANIFEST} names {name[:80]!r}, which is no file of a run")
        whole = isinstance(told, dict) and type(told.get("bytes")) is int and told["bytes"] >= 0
        if not whole or not re.fullmatch("[0-9a-f]{64}", str(told.get("sha256"))):
            raise RunError(f"{repo} is refused: {MANIFEST} says no hash and size of {name!r}")
    return files


def _take(file: Path, target: Path, told: dict[str, Any], what: str) -> None:
    if file.stat().st_size != told["bytes"] or hash_file(file) != told["sha256"]:
        raise RunError(f"{what} is not what its manifest says (another hash); pull again, or ask its author")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Inside, what the hub refuses is told in one line."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    reasons: tuple[tuple[type[Exception], Callable[[Exception], str]], ...] = (
        (GatedRepoError, lambda e: "access has to be asked for on its page"),
        (RepositoryNotFoundError, lambda e: "there is none, or it is private: log in with 'hf auth login'"),
        (RevisionNotFoundError, lambda e: "it has no such revision"),
        (
            EntryNotFoundError,
            lambda e: f"it holds no run, or not all of one (no {MANIFEST}, or a file is missing)",
        ),
        (HFValidationError, _first),
        (HfHubHTTPError, _first),
    )
    try:
        yield
    except FlowloomError:
        raise
    except Exception as error:
        for kind, said in reasons:
            if isinstance(error, kind):
                raise RunError(f"{what}: {said(error)}") from error
        # The transport's own errors are of a package that may change.
        if isinstance(error, OSError) or type(error).__module__.partition(".")[0].startswith("http"):
            raise RunError(f"{what}: the hub cannot be reached: {_first(error)}") from error
        if type(error).__module__.startswith("huggingface_hub"):
            raise RunError(f"{what}: {_first(error)}") from error
        raise


def _first(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
