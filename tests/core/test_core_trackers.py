"""Trackers as a run uses them."""

from __future__ import annotations

import csv

import pytest

from flowloom import trackers
from flowloom.errors import MissingDependencyError
from flowloom.trackers import CSVTracker, TensorBoardTracker

LINES = (
    (20, {"step": 20, "loss": 1.0, "lr": 0.1}),
    (40, {"step": 40, "loss": 0.9, "lr": 0.1, "val_nll": 3.0}),
    (60, {"step": 60, "loss": 0.8, "lr": 0.1}),
)


def follow(folder, lines=LINES):
    tracker = CSVTracker()
    tracker.start(folder, "")
    for step, metrics in lines:
        tracker.log(step, metrics)
    tracker.finish({})


def table(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.reader(file))


def test_columns_that_join_later_keep_every_row_whole(tmp_path):
    follow(tmp_path)
    assert table(tmp_path) == [
        ["step", "loss", "lr", "val_nll"],
        ["20", "1.0", "0.1", ""],
        ["40", "0.9", "0.1", "3.0"],
        ["60", "0.8", "0.1", ""],
    ]


def test_a_resumed_run_replaces_the_steps_it_takes_again(tmp_path):
    follow(tmp_path)
    follow(tmp_path, ((40, {"step": 40, "loss": 0.7, "lr": 0.1, "val_nll": 2.0}), (60, {"loss": 0.6})))
    assert table(tmp_path)[2:] == [["40", "0.7", "0.1", "2.0"], ["60", "0.6", "", ""]]
    assert len(table(tmp_path)) == 4


def test_a_row_cut_short_by_a_crash_is_dropped_when_the_file_is_written_anew(tmp_path):
    follow(tmp_path)
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("80,0.")
    follow(tmp_path, ((80, {"loss": 0.5}),))
    assert [row[0] for row in table(tmp_path)] == ["step", "20", "40", "60", "80"]
    assert table(tmp_path)[-1] == ["80", "0.5", "", ""]


def test_tensorboard_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"):
        TensorBoardTracker()


@pytest.mark.parametrize("name", ["", ".csv", "checkpoints", "status.json", "a/b.csv", "a\\b.csv"])
def test_a_table_is_never_named_like_another_file_of_the_run(name):
    with pytest.raises(ValueError, match=r"ending in .csv"):
        CSVTracker(name)
