"""Two warnings of torch are silent inside `quiet`, and no other."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from flowloom.training.parallel.quiet import quiet
from flowloom.training.sharded import read_all, write


def test_two_warnings_and_no_other() -> None:
    with warnings.catch_warnings(record=True) as seen, quiet():
        warnings.warn("FSDP2-wrapped module (FSDPMLP) returned a view tensor. An in-place op", stacklevel=1)
        warnings.warn("another one", stacklevel=1)
    assert [str(one.message) for one in seen] == ["another one"]


def test_one_process_reads_and_writes_shares_in_silence(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        write({"flow.w": torch.ones(3)}, tmp_path)
        assert read_all(tmp_path, "flow.")["w"].equal(torch.ones(3))
