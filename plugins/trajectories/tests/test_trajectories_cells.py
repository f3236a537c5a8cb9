"""Cells in files, two sets through kernels, and what straight lines make of a population."""

import math

import numpy as np
import pytest
import torch

from flowloom.data import Examples, Tensors
from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom_registry.cli import main
from flowloom_trajectories.baselines import DisplacementInterpolation
from flowloom_trajectories.data import Crossroads
from flowloom_trajectories.metric_flow import Arch, Snapshots
from flowloom_trajectories.metric_flow.cells import read_cells
from flowloom_trajectories.metrics.discrepancy import MMD


def test_discrepancy_is_the_sum_over_pairs():
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(7, 2, generator=draws).double(), torch.randn(5, 2, generator=draws).double() + 1
    median = torch.pdist(y).median()

    def k(a, b):
        return math.exp(-float((a - b).square().sum()) / 2 / float(0.5 * median) ** 2)

    def apart(some):
        return np.mean([k(some[i], some[j]) for i in range(len(some)) for j in range(len(some)) if i != j])

    between = np.mean([k(a, b) for a in x for b in y])
    wanted = math.sqrt(max(0.0, apart(x) + apart(y) - 2 * between))
    assert MMD(widths=(0.5,))(Examples(x), Examples(y))["mmd"] == pytest.approx(wanted)


def test_discrepancy_of_equal_laws_is_small_and_not_moved_by_a_shift_of_both():
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 600, 2, generator=draws).double()
    same, apart = (MMD()(Examples(x + off), Examples(y))["mmd"] for off in (0.0, 0.5))
    assert same < 0.05 < 0.15 < apart
    moved = MMD()(Examples(x + 0.5 + 1e5), Examples(y + 1e5))["mmd"]
    assert moved == pytest.approx(apart, rel=1e-6)


def test_lines_between_optimal_pairs():
    """Of a population that is moved as a whole, optimal pairs are those of the move."""

    class Moved(Arch):
        def members(self, k, n, generator):
            return torch.randn(n, 2, generator=torch.Generator().manual_seed(k % 1)) + 4 * self.times[k]

    data = Moved(n=60)
    rule = DisplacementInterpolation()
    rule.fit(data)
    x0, x1, _ = rule.pairs[0]
    torch.testing.assert_close(x1 - x0, torch.full_like(x0, 4.0))
    asked = data.split("test").all()
    answer = rule(asked, torch.Generator().manual_seed(0)).x
    distance = torch.cdist(answer.double(), (x0 + 2).double()).amin(1)
    assert distance.max() < 1e-5


def test_lines_are_of_all_members_of_a_sorted_file():
    """The first rows of an interval may all be of one branch."""
    branch = torch.where(torch.arange(40) < 20, -5.0, 5.0)[:, None]
    cond = {"x0": torch.zeros(40, 1), "between": torch.tensor([[0.0, 1.0]]).repeat(40, 1)}
    rule = DisplacementInterpolation(most=10)
    rule.fit(Tensors(branch, cond | {"interval": torch.zeros(40, dtype=torch.int64)}))
    assert sorted(rule.pairs[0][1].flatten().tolist()) == [-5.0] * 5 + [5.0] * 5


def test_discrepancy_of_one_row_is_none():
    x = Examples(torch.randn(9, 2, generator=torch.Generator().manual_seed(0)))
    for some, other in ((x.take(torch.arange(1)), x), (x, x.take(torch.arange(1)))):
        with pytest.raises(ShapeError, match="at least 2 rows a side"):
            MMD()(some, other)


def test_discrepancy_has_no_unit_where_most_rows_are_alike():
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 40, 2, generator=draws).double() + 1
    y[:35] = 0
    near, far = (MMD()(Examples(scale * x), Examples(scale * y))["mmd"] for scale in (1e-6, 1.0))
    assert near == pytest.approx(far, rel=1e-6)
    assert far > 0.1


def test_lines_need_snapshots():
    with pytest.raises(IncompatibleError, match="joins snapshots, which have the conditions x0"):
        DisplacementInterpolation().fit(Crossroads(n=64))


@pytest.mark.parametrize(
    ("words", "times"),
    [
        (["day 2", "day 10", "day 4"], [2, 10, 4]),
        (["d4.5", "x_12", "y_1"], [0, 1, 2]),  # not a number in each, so places in order
        (["early", "late", "mid"], [0, 1, 2]),
        (["day0", "day10", "day2"], [0, 10, 2]),
        (["D1.5_x", "D12_x", "D2_x"], [1.5, 12, 2]),
        (["t-2", "t0", "t1"], [0, 1, 2]),
    ],
)
def test_times_in_words(tmp_path, words, times):
    file = tmp_path / "cells.csv"
    file.write_text("day,a\n" + "\n".join(f"{word},1.5" for word in words))
    cells, when = read_cells(file, "day")
    assert cells.tolist() == [[1.5]] * 3
    assert when.tolist() == times


def test_what_is_not_finite_is_told_with_its_row(tmp_path):
    file = tmp_path / "cells.csv"
    file.write_text("time,a\n0,1\n0,nan\n1,2\n")
    with pytest.raises(DataError, match=r"cells\.csv:3: column .a. is not finite"):
        read_cells(file, "time")


def test_a_column_of_words_is_no_coordinate(tmp_path):
    file = tmp_path / "cells.csv"
    file.write_text("time,a,kind\n0,1,x\n1,2,y\n")
    with pytest.raises(DataError, match=r"column 'kind' holds words such as 'x'"):
        read_cells(file, "time")


@pytest.mark.parametrize("sparse", [False, True])
def test_annotated_data(tmp_path, sparse):
    """Files as AnnData writes them: categories as codes, sparse matrices in three arrays."""
    h5py = pytest.importorskip("h5py")
    from scipy.sparse import csr_matrix

    values = np.arange(60, dtype=np.float32).reshape(30, 2)
    file = tmp_path / "cells.h5ad"
    with h5py.File(file, "w") as table:
        obs = table.create_group("obs")
        obs.attrs["_index"] = "name"
        obs["name"], obs["hour"] = [f"cell {k}" for k in range(30)], np.arange(30) // 10
        day = obs.create_group("day")
        day["categories"], day["codes"] = ["day 0", "day 4", "day 8"], (np.arange(30) // 10).astype(np.int8)
        table.create_group("obsm")["X_pca"] = values * 2
        if sparse:
            held = csr_matrix(values)
            group = table.create_group("X")
            group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", values.shape
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(held, name)
        else:
            table["X"] = values
    cells, when = read_cells(file, "day")
    assert np.array_equal(cells.numpy(), values * 2)
    assert when.tolist() == [k // 10 * 4 for k in range(30)]
    cells, when = read_cells(file, "hour", "X")
    assert np.array_equal(cells.numpy(), values)
    assert when.unique().tolist() == [0, 1, 2]
    assert Snapshots(file, time="day", held=1, n=20).times == (0.0, 0.5, 1.0)
    with pytest.raises(DataError, match="no column 'time' in obs; it has: day, hour"):
        read_cells(file, "time")
    with pytest.raises(DataError, match="no 'X_umap' in obsm; it has: X_pca, X"):
        read_cells(file, "day", "X_umap")
    with h5py.File(file, "a") as table:
        table["obs/day/codes"][3] = -1
    with pytest.raises(DataError, match="cell 4 has no time"):
        read_cells(file, "day")
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"cannot read .* as AnnData"):
        read_cells(file, "day")


@pytest.mark.slow
def test_cell_snapshots_run_through(tmp_path):
    changes = (
        "stages.geodesics.train.steps=3",
        "stages.flow.train.steps=3",
        "stages.flow.evaluate.n=40",
        "stages.flow.sample.n=20",
        "data.n=200",
    )
    words = [word for s in changes for word in ("--set", s)]
    assert main(["run", "cell-snapshots", *words, "--out", str(tmp_path / "r")]) == 0
    report = (tmp_path / "r" / "report.html").read_text()
    assert "displacement-interpolation" in report
    assert 'class="player"' in report
