"""Wrong trackers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from flowloom.testing import check
from flowloom.trackers import CSVTracker, Tracker

KIND = "tracker"


class Lines(Tracker):
    """A line of JSON for every line of metrics."""

    def start(self, folder, recipe):
        self.file = folder / "lines.jsonl"

    def log(self, step, metrics):
        with open(self.file, "a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")


class FirstColumns(Lines):
    """Expects the metrics of the first line for ever."""

    def start(self, folder, recipe):
        super().start(folder, recipe)
        self.columns = None

    def log(self, step, metrics):
        self.columns = self.columns or set(metrics)
        assert set(metrics) == self.columns
        super().log(step, metrics)


class Straying(Lines):
    def log(self, step, metrics):
        super().log(step, metrics)
        Path("log.txt").write_text("here")


class Drawing(Lines):
    """Names its lines by chance."""

    def log(self, step, metrics):
        super().log(step, {**metrics, "id": float(torch.rand(()))})


class Rounding(Lines):
    """Rounds the metrics it is handed, in place."""

    def log(self, step, metrics):
        super().log(step, metrics)
        metrics.update({name: round(value, 0) for name, value in metrics.items() if value == value})


class Second(Lines):
    """Clears the folder where it finds that somebody was there before."""

    def start(self, folder, recipe):
        super().start(folder, recipe)
        if self.file.exists():
            self.file.unlink()
            self.file = folder / "second.jsonl"


EVERY_CHECK_FOLLOWS = ("check_follows_on", "check_keeps_to_its_folder", "check_leaves_the_run_alone")

TWINS = {
    "check_follows_a_run": (FirstColumns, EVERY_CHECK_FOLLOWS),
    "check_follows_on": (Second, ()),
    "check_keeps_to_its_folder": (Straying, ()),
    "check_leaves_the_run_alone": (Drawing, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_metrics_changed_in_place_are_caught():
    failed = {r.name: r.message for r in check(Rounding, KIND) if not r.ok}
    assert "metrics are left as they were" in failed["check_leaves_the_run_alone"]


@pytest.mark.parametrize("right", [Lines, CSVTracker])
def test_the_right_one_passes(right):
    assert all(r.status == "passed" for r in check(right, KIND))


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
