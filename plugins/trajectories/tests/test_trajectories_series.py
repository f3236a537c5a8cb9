"""Series: missing values are no entries; bad files are told with file and line."""

import math
import re

import pytest
import torch

from flowloom.errors import DataError
from flowloom.testing import check
from flowloom.views import Mask, Viewed
from flowloom_trajectories.baselines import LinearInterpolation
from flowloom_trajectories.data import Series
from flowloom_trajectories.data.series import read_series


def write(tmp_path, lines, header="date,a,b"):
    file = tmp_path / "s.csv"
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


def hours(n, left_out=(), missing=()):
    for i in range(n):
        if i not in left_out:
            a = "NA" if i in missing else f"{math.sin(i):.5f}"
            yield f"2020-01-{1 + i // 24:02d} {i % 24:02d}:00:00,{a},{i}"


def test_values_and_missing_ones(tmp_path):
    values = read_series(write(tmp_path, hours(5, missing={2})))
    assert values.shape == (5, 2)
    assert values[:, 1].tolist() == [0, 1, 2, 3, 4]
    assert values[:, 0].isnan().tolist() == [False, False, True, False, False]


def test_a_line_whose_values_are_all_missing_is_a_time_all_the_same(tmp_path):
    values = read_series(write(tmp_path, ["1,2", ",", "", "3,4", ","], "a,b"))
    assert values[:, 0].nan_to_num(-1).tolist() == [1, -1, 3]


@pytest.mark.parametrize("between", ["\t", ";"])
def test_what_stands_between_values_is_told_by_the_header(tmp_path, between):
    lines = [line.replace(",", between) for line in hours(4, missing={1})]
    values = read_series(write(tmp_path, lines, f"date{between}a{between}b"))
    assert values[:, 1].tolist() == [0, 1, 2, 3]
    assert values[1, 0].isnan()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["2020-01-01,1,2", "2020-01-02,foo,2"], ":3: column 'a' holds numbers, and 'foo'"),
        (["2020-01-01,1,2", "2020-01-02,1"], ":3: 2 cells under 3 columns"),
        (["2020-01-01,1,2", "2020-01-01,1,2"], ":3: time '2020-01-01' stands twice; keep one of its lines"),
        (["2020-01-02,1,2", "2020-01-01,1,2"], ":3: time '2020-01-01' comes before"),
        (["2020-01-01,1,2", "soon,1,2"], ":3: 'soon' is no time"),
        (["1,1,2", "nan,1,2"], ":3: 'nan' is no time"),
        (["2020-01-01,1,2", "2020-01-02,inf,2"], ":3: column 'a' is infinite"),
        (
            ["2020-01-01,1,2", "2020-01-02,1,2", "2020-01-03,1,2", "2020-01-05,1,2"],
            ":5: 1 times are left out before '2020-01-05'",
        ),
        (
            ["2020-01-01,1,2", "2020-01-02,1,2", "2020-01-03,1,2", "2020-01-04 12:00:00,1,2"],
            ":5: time '2020-01-04 12:00:00' is off the grid of 86400 s",
        ),
    ],
)
def test_bad_files_are_told_with_file_and_line(tmp_path, lines, said):
    file = write(tmp_path, lines)
    with pytest.raises(DataError) as told:
        read_series(file)
    assert f"{file}{said}" in str(told.value)


def test_an_unknown_column_is_told(tmp_path):
    with pytest.raises(DataError, match="no column 'c'; it has: a, b"):
        read_series(write(tmp_path, hours(3)), ["c"])


@pytest.mark.parametrize(
    ("header", "lines", "said"),
    [
        ("date,a,a", ["1,2,3", "2,3,4"], ":1: column 'a' is there twice"),
        ("date", ["1", "2"], ":1: there is no column beside the time"),
        ("date,a", ["1,2", "2,3", "3,4", "1e14,3"], ":5: 4 times would be filled up to 100,000,000,000,000"),
    ],
)
def test_what_is_no_series_is_told(tmp_path, header, lines, said):
    file = write(tmp_path, lines, header)
    with pytest.raises(DataError, match=re.escape(f"{file}{said}")):
        read_series(file, irregular="fill")


@pytest.mark.parametrize("columns", [[], ["a", "a"]])
def test_columns_are_named_once_each(columns):
    with pytest.raises(DataError, match="columns names one at least, each once"):
        Series(columns=columns)


def test_times_left_out_are_missing_values_where_asked(tmp_path):
    values = read_series(write(tmp_path, hours(6, left_out={3})), irregular="fill")
    assert len(values) == 6
    assert values[3].isnan().all()


def test_windows_stay_within_their_split(tmp_path):
    data = Series(write(tmp_path, hours(200)), length=10)
    step = data._parts["train"][1, 1] - data._parts["train"][0, 1]
    for name, first, last in (("train", 0, 119), ("val", 120, 159), ("test", 160, 199)):
        rows = data.split(name).all()
        hour = rows.x[..., 1] / step
        hour = hour - data._parts["train"][0, 1] / step
        assert round(float(hour.min())) == first
        assert round(float(hour.max())) <= last


def test_missing_values_are_padding(tmp_path):
    data = Series(write(tmp_path, hours(200, missing={5, 130})), length=10)
    rows = data.take(torch.arange(3)).laid_out(data.spec)
    assert not rows.cond["seen"][0, 5, 0]
    assert rows.cond["seen"][0, 5, 1]
    assert rows.x.isfinite().all()
    assert rows.layout.real.shape == (3, 10, 2)
    assert all(result.ok for result in check(lambda: data, "dataset"))


def test_windows_longer_than_the_data_are_told(tmp_path):
    data = Series(write(tmp_path, hours(30)), length=10)
    with pytest.raises(DataError, match="has 30 steps, 6 in its shortest split; windows of 10 do not fit"):
        len(data)


def test_what_is_missing_is_never_given(tmp_path):
    """Where an hour lacks one of its columns, the others are given, and lines do not go through its zero."""
    gone = range(3, 200, 4)
    lines = [f"{i},{'' if i in gone else i},{i % 5}" for i in range(200)]
    data = Viewed(
        Series(write(tmp_path, lines, "time,a,b"), length=12), [Mask(least=0.95, most=0.95, dims=1)]
    )
    rows = data.take(torch.arange(40)).laid_out(data.spec)
    seen, given = rows.cond["seen"], rows.cond["given"]
    assert not (given & ~seen).any()
    assert (given[..., 1] & ~given[..., 0]).sum() > 100
    rule = LinearInterpolation()
    rule.fit(data)
    filled = rule(rows, torch.Generator()).x[:, :, 0]
    inner = ~seen[:, 1:-1, 0] & given[:, :-2, 0] & given[:, 2:, 0]
    assert torch.allclose(filled[:, 1:-1][inner], ((filled[:, :-2] + filled[:, 2:]) / 2)[inner], atol=1e-5)
