"""What one of two processes stops of is told by the other as well: which one, and why."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

OBJECTIVE = """
import os, signal
from flowloom.errors import DataError
from flowloom.objectives import FlowMatching

class Stumbling(FlowMatching):
    def __init__(self, rank: int, fault: str):
        super().__init__()
        self.rank, self.fault = rank, fault

    def loss(self, model, batch, step):
        found = super().loss(model, batch, step)
        if step.number == 30 and os.environ["RANK"] == str(self.rank):
            if self.fault == "killed":  # while the other waits for its gradient
                found.total.register_hook(lambda gradient: os.kill(os.getpid(), signal.SIGKILL))
                return found
            raise {"bug": ValueError, "data": DataError}[self.fault]("row 17 is odd\\nand more")
        return found
"""


@pytest.mark.parametrize(
    ("rank", "kind"),
    [
        (1, "bug"),
        pytest.param(1, "data", marks=pytest.mark.slow),
        pytest.param(0, "bug", marks=pytest.mark.slow),
    ],
)
def test_the_other_process_names_who_stopped_and_why(
    recipe: Path, tmp_path: Path, pair: Any, rank: int, kind: str
) -> None:
    (tmp_path / "mine.py").write_text(OBJECTIVE)
    mine, out = tmp_path / "mine.yaml", tmp_path / "run"
    use = f"{{use: ./mine.py:Stumbling, rank: {rank}, fault: {kind}}}"
    mine.write_text(recipe.read_text().replace("{use: flow-matching, condition_dropout: 0.2}", use))
    codes, told = pair(mine, "--out", out).ended()
    assert codes[rank] == (1 if kind == "bug" else 2), told
    assert codes[1 - rank] == 2
    said = "ValueError: row 17 is odd" if kind == "bug" else "row 17 is odd"
    lines = [line for line in told[1 - rank] if "of this training" in line]
    last = out / "checkpoints" / "step-00000020"
    if kind == "data":  # it told its own line, and nobody repeats it
        assert told[1][-2:] == ["row 17 is odd", "and more"]
        assert lines == []
    elif rank == 1:
        assert any(line.endswith(said) for line in told[1]), "a fault of the code shows its trace"
        assert lines == [f"process 1 of this training stopped: {said}; the last good checkpoint is {last}"]
    else:  # it kept count, and may be gone before it is asked
        (line,) = lines
        assert line.startswith("process 0 of this training")
        assert line.endswith(f"; the last good checkpoint is {last}")
    if rank == 1:
        status = json.loads((out / "status.json").read_text())
        assert status["state"] == "failed"
        assert status["message"] == f"process 1 of this training stopped: {said}"
    assert (last / "state.json").is_file()


def test_a_process_that_is_killed_among_gradients_is_missed(recipe: Path, tmp_path: Path, pair: Any) -> None:
    """With rows of one's own nothing but torch's engine waits for the other."""
    (tmp_path / "mine.py").write_text(OBJECTIVE)
    mine, out = tmp_path / "mine.yaml", tmp_path / "run"
    use = "{use: ./mine.py:Stumbling, rank: 1, fault: killed}"
    mine.write_text(recipe.read_text().replace("{use: flow-matching, condition_dropout: 0.2}", use))
    codes, told = pair(mine, "--out", out, "--set", "train.parallel={batch: own}").ended()
    assert codes == [2, -signal.SIGKILL], told
    (line,) = (line for line in told[0] if "ended without a word" in line)
    assert line.endswith(f"; the last good checkpoint is {out / 'checkpoints' / 'step-00000020'}")
    assert not [line for line in told[0] if "Traceback" in line]
