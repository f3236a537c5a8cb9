"""Reading walks: every separator, any order, gaps; bad lines are told with their place."""

import pytest
import torch

from flowloom.errors import DataError
from flowloom.testing import check
from flowloom_trajectories.data import Pedestrians, Walks, read_tracks
from flowloom_trajectories.data.windows import cut


@pytest.mark.parametrize("between", ["\t", ",", ", ", "  "])
def test_separators(walk_file, between):
    tracks = read_tracks(walk_file({1: (0, 5), 2: (20, 4)}, between=between))
    assert tracks.step == 10
    assert tracks.agents.tolist() == [1] * 5 + [2] * 4
    assert tracks.xy[0].tolist() == [0.0, 1.0]


def test_order_header_and_comments_do_not_matter(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("frame,id,x,y\n20,1,2,0\n0,1,0,0  # first\n\n10,1,1,0\n")
    tracks = read_tracks(file)
    assert tracks.frames.tolist() == [0, 10, 20]
    assert tracks.xy[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0\t1\t2", "3 values"),
        ("1,,1,2,3", "'1,,1,2,3' holds an empty cell"),
        ("1;1;2,5", "'1;1;2,5' holds an empty cell, or two kinds of separators"),
        ("1\t1\t2,5", "two kinds of separators"),
        ("0\t1\tfoo\t3", "x is 'foo'"),
        ("0\t1\tnan\t3", "x is 'nan'"),
        ("0\t1\t2\tinf", "y is 'inf'"),
        ("0.5\t1\t2\t3", "frame is '0.5'"),
        ("10\t1\t2\t3", "agent 1 stands in frame 10 twice, first in line 1"),
    ],
)
def test_bad_lines_are_told_with_file_and_line(tmp_path, line, said):
    file = tmp_path / "bad.txt"
    file.write_text(f"10\t1\t0\t0\n{line}\n")
    with pytest.raises(DataError) as told:
        read_tracks(file)
    assert f"{file}:2: " in str(told.value)
    assert said in str(told.value)


def test_an_empty_file_is_told(tmp_path):
    file = tmp_path / "none.txt"
    file.write_text("\n")
    with pytest.raises(DataError, match="holds no tracks"):
        read_tracks(file)


def test_a_gap_cuts_a_track_in_two(walk_file):
    tracks = read_tracks(walk_file({1: (0, 12)}, skip={(1, 6)}))
    assert tracks.longest() == 6
    assert tracks.stretches(5).tolist() == [0, 1, 6]


def test_windows_are_about_the_last_observed_position(walk_file):
    windows = cut(read_tracks(walk_file({1: (0, 6), 2: (0, 6), 3: (40, 6)})), 3, 3, 2)
    assert len(windows.start) == 3
    assert windows.past[0].tolist() == [[-2, 0], [-1, 0], [0, 0]]
    assert windows.future[0].tolist() == [[1, 0], [2, 0], [3, 0]]
    # Agent 2 walks beside agent 1; agent 3 comes after the last observed step.
    assert windows.neighbours[0, 0].tolist() == [[-2, 1, 1], [-1, 1, 1], [0, 1, 1]]
    assert windows.neighbours[0, 1].abs().sum() == 0
    assert windows.ahead[0, 0].tolist() == [[1, 1, 1], [2, 1, 1], [3, 1, 1]]
    # The others have left when agent 3 is asked about.
    assert windows.neighbours[2].abs().sum() == 0


def test_nearest_neighbours_come_first(walk_file):
    windows = cut(read_tracks(walk_file({1: (0, 6), 2: (0, 6), 5: (0, 6)})), 3, 3, 5)
    row = (windows.origin[:, 1] == 5).nonzero()[0, 0]
    assert windows.neighbours[row, :, 2, 1].tolist() == [-3, -4, 0, 0, 0]


def test_agents_seen_too_briefly_are_told(walk_file):
    data = Walks([walk_file({1: (0, 7)})])
    with pytest.raises(DataError, match=r"20 steps .* the longest track without a gap has 7"):
        len(data)


def test_splits_are_apart_in_time(walk_file):
    file = walk_file({i: (i * 50, 40) for i in range(1, 30)})
    data = Walks([file], val=0.2)
    parts = {name: data._splits[name].start for name in ("train", "val", "test")}
    assert parts["train"].max() + 200 <= parts["test"].min()
    assert parts["test"].max() + 200 <= parts["val"].min()
    broken = {r.name for r in check(lambda: Walks([file], val=0.2), "dataset") if not r.ok}
    assert broken == {"check_splits_are_disjoint", "check_rows_differ"}  # these walks are all alike


def test_one_scene_is_held_out(walk_file, tmp_path):
    for name in ("biwi_eth", "biwi_hotel", "crowds_zara01"):
        walk_file({i: (i * 200, 30 + (name == "biwi_hotel")) for i in range(1, 20)}, f"{name}.txt")
    data = Pedestrians("hotel", root=tmp_path)
    assert len(data.split("test")) == 19 * 12
    ours, theirs = data.located()
    assert [file.stem for file in ours] == ["biwi_eth", "crowds_zara01"]
    assert [file.stem for file in theirs] == ["biwi_hotel"]
    with pytest.raises(DataError, match="scene univ is students001"):
        len(Pedestrians("univ", root=tmp_path))


def test_nothing_of_the_future_is_told_to_a_network(walk_file):
    import flowloom as fl

    data = Walks([walk_file({i: (i * 50, 40) for i in range(1, 30)})], val=0.2, neighbours=2)

    seen = set()

    class Spy(fl.models.MLP):
        def forward(self, x, t, /, **cond):
            seen.update(cond)
            return super().forward(x, t, **cond)

    flow = fl.Flow(Spy(data.spec, width=8, depth=1))
    flow.fit(data, steps=2, batch=4)
    rows = data.take(torch.arange(3))
    assert "ahead" in rows.cond
    flow.solve(3, cond=rows.cond, seed=0)
    assert seen == {"past", "neighbours"}


def test_shares_of_the_time_do_not_overlap_where_agents_are_out_of_step(walk_file):
    """Windows begin in every frame of the one agent and, between them, of the other."""
    walks = Walks([walk_file({1: (0, 300), 2: (5, 300)})], observed=8, predicted=12, val=0.1)
    parts = walks._splits
    lasts = 20 * 10
    for before, after in (("train", "test"), ("test", "val")):
        assert int(parts[after].start.min()) >= int(parts[before].start.max()) + lasts - 10, (before, after)


def test_starts_far_apart_leave_every_share_something(walk_file):
    walks = Walks([walk_file({i: (1000 * i, 20) for i in range(40)})], observed=8, predicted=12, val=0.1)
    assert all(walks.size(name) for name in ("train", "test", "val"))


def test_coordinates_of_a_map_keep_their_digits(tmp_path):
    file = tmp_path / "map.csv"
    file.write_text("".join(f"{i},1,{5e5 + 0.4 * i},{5e6 + 0.1 * i}\n" for i in range(6)))
    windows = cut(read_tracks(file), 3, 3, 1)
    steps = torch.arange(1, 4)[:, None] * torch.tensor([0.4, 0.1])
    assert windows.future.dtype == torch.float32
    assert torch.allclose(windows.future[0], steps, atol=1e-6)


def test_agents_that_would_become_one_are_told(tmp_path):
    file = tmp_path / "big.csv"
    file.write_text("0,10000000000000000000,0,0\n")
    with pytest.raises(
        DataError, match=r"big\.csv:1: id is '10000000000000000000'; it takes a whole number up to"
    ):
        read_tracks(file)


def test_frames_may_be_times_of_a_clock(walk_file):
    """Milliseconds since 1970 split as any other frames do, though float32 does not tell them apart."""
    begins = {i: (i * 50, 40) for i in range(1, 30)}
    clock = {i: (1_700_000_000_000 + first, count) for i, (first, count) in begins.items()}
    plain, dated = (
        Walks([walk_file(walks, f"{len(name)}.txt")], val=0.2)
        for name, walks in (("a", begins), ("bb", clock))
    )
    for name in ("train", "val", "test"):
        assert dated.size(name) == plain.size(name)
