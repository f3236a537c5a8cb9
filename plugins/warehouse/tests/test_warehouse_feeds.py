"""Feeds at size: batches made in other processes, rows encoded once, and memory at a hundred million rows."""

from __future__ import annotations

import importlib.util
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flowloom.codecs import Codec
from flowloom.couplings import OptimalTransport
from flowloom.data import Dataset, EightGaussians, Examples, Tensors
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.models import MLP
from flowloom.parts import keep_elsewhere
from flowloom.seeds import generator
from flowloom.spec import Spec
from flowloom.training import Feed, Feeding, Rows
from flowloom.views import View
from flowloom_warehouse.beside import Beside
from flowloom_warehouse.encoded import Encoded, _Store
from flowloom_warehouse.tars import TarShards

HERE = importlib.util.spec_from_file_location("warehouse_files", Path(__file__).with_name("conftest.py"))
assert HERE is not None
files = importlib.util.module_from_spec(HERE)
assert HERE.loader is not None
HERE.loader.exec_module(files)


def flow_of(data: Dataset, codec: Codec | None = None) -> Flow:
    torch.manual_seed(0)
    spec = data.spec if codec is None else codec.spec
    flow = Flow(MLP(spec, width=4), spec=spec, codec=codec)
    flow.coupling = OptimalTransport(flow.geometry)
    return flow.eval()


def started(feed: Feed, flow: Flow, size: int = 16) -> Feed:
    feed.start(Feeding(flow, size, 7))
    return feed


def batch(feed: Feed, k: int):
    return feed.batch(k, generator(7, "source", k))


@pytest.fixture(scope="module")
def workers():
    data = EightGaussians(100)
    feed = started(Beside(data, workers=1, ahead=2), flow_of(data))
    batch(feed, 0)
    yield feed
    feed._stop()


@pytest.mark.parametrize("order", [[1, 2, 3, 4], [9, 3, 4], [0, 4, 8, 12]], ids=["on", "any", "stride"])
def test_batches_made_elsewhere_have_the_same_bits(workers: Beside, order: list[int]) -> None:
    plain = started(Rows(workers.data), workers.feeding.flow)
    for k in order:
        found, right = batch(workers, k), batch(plain, k)
        assert found.x0.equal(right.x0)
        assert found.x1.equal(right.x1)
        assert all(value.equal(right.cond[name]) for name, value in found.cond.items())


def test_those_that_follow_are_made_ahead(workers: Beside) -> None:
    batch(workers, 20)
    assert sorted(workers._coming) == [20 + workers._stride, 20 + 2 * workers._stride]
    batch(workers, 21)
    batch(workers, 22)
    assert sorted(workers._coming) == [23, 24]


def test_a_worker_that_dies_is_told() -> None:
    data = EightGaussians(100)
    feed = started(Beside(data, workers=1, ahead=1), flow_of(data))
    assert isinstance(feed, Beside)
    batch(feed, 0)
    assert feed._pool is not None
    for process in list(feed._pool._processes.values()):
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(DataError, match="a process that makes batches died"):
        for k in range(1, 5):
            batch(feed, k)
    feed._stop()


TRAINING = """
import sys
import torch
from flowloom.data import EightGaussians
from flowloom.flow import Flow
from flowloom.models import MLP
from flowloom.seeds import generator
from flowloom.training import Feeding
from flowloom_warehouse.beside import Beside

if __name__ == "__main__":
    data = EightGaussians(100)
    feed = Beside(data, workers=2, ahead=2)
    feed.start(Feeding(Flow(MLP(data.spec, width=4), spec=data.spec), 16, 7))
    k = 0
    try:
        while True:
            feed.batch(k, generator(7, "source", k))
            k += 1
            if k in (1, 20):
                print(*(feed._pool._processes or ()), flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.fixture
def training(tmp_path: Path):
    """A process that asks for batches without an end, in a group of its own, and its workers."""
    (tmp_path / "training.py").write_text(TRAINING)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "training.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process, [int(word) for word in process.stdout.readline().split()]
    process.kill()
    process.communicate()


def gone(number: int) -> bool:
    try:
        # Nobody may be there to collect what has ended.
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_workers_end_with_a_training_that_is_killed(training) -> None:
    process, workers = training
    assert len(workers) == 2
    assert not any(map(gone, workers))
    process.kill()
    for _ in range(200):
        if all(map(gone, workers)):
            return
        time.sleep(0.1)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    raise AssertionError("workers are left")


def test_an_interrupt_is_the_trainings_alone(training) -> None:
    process, _ = training
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "interrupted" in out
    assert "Traceback" not in err, err
    assert process.returncode == 0


class Halved(Codec):
    """Counts how often it is asked."""

    def __init__(self, spec: Spec, factor: float = 0.5) -> None:
        super().__init__(spec)
        self.register_buffer("factor", torch.tensor(factor))
        self._asked = 0

    def encode(self, examples: Examples, generator: torch.Generator | None = None) -> Examples:
        self._asked += 1
        return Examples(examples.x * self.factor, examples.cond)

    def decode(self, examples: Examples) -> Examples:
        return Examples(examples.x / self.factor, examples.cond)


def test_rows_are_encoded_once(tmp_path: Path) -> None:
    data = EightGaussians(100)
    codec = Halved(data.spec)
    flow = flow_of(data, codec)
    first = started(Encoded(data, folder=tmp_path, chunk=32), flow)
    plain = started(Rows(data), flow)
    for k in (0, 5, 9):
        found, right = batch(first, k), batch(plain, k)
        assert found.x1.equal(right.x1)
        assert found.x0.equal(right.x0)
        assert found.cond["label"].equal(right.cond["label"])
    asked = codec._asked
    again = started(Encoded(data, folder=tmp_path, chunk=32), flow)
    batch(again, 3)
    assert codec._asked == asked, "what lies there is taken"
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1
    other = flow_of(data, Halved(data.spec, 0.25))
    assert batch(started(Encoded(data, folder=tmp_path), other), 0).x1.equal(
        batch(started(Rows(data), other), 0).x1
    ), "another codec encodes anew"
    changed = EightGaussians(100, seed=5)
    assert batch(started(Encoded(changed, folder=tmp_path), flow), 0).x1.equal(
        batch(started(Rows(changed), flow), 0).x1
    ), "so do other data"


def key(data: Dataset, codec: Codec | None = None, views: tuple[View, ...] = ()) -> str:
    feed = started(Encoded(data, views), flow_of(data, codec))
    assert isinstance(feed, Encoded)
    return feed.key()


def test_one_row_of_many_makes_other_data(tmp_path: Path) -> None:
    x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[501, 1] += 1
    same, labels = Tensors(x.clone()), torch.zeros(1000, dtype=torch.long)
    assert key(Tensors(x)) == key(same) != key(Tensors(other))
    labels[0] = 1
    assert key(Tensors(x, {"label": labels})) != key(Tensors(x, {"label": labels.flip(0)}))
    flow = flow_of(same, Halved(same.spec))
    batch(started(Encoded(same, folder=tmp_path), flow), 0)
    late = Tensors(other)
    found = batch(started(Encoded(late, folder=tmp_path), flow), 0)
    assert found.x1.equal(batch(started(Rows(late), flow), 0).x1)


class Filter:
    """An object of no repr of its own."""

    def __init__(self, taps: list[float]) -> None:
        self.taps = np.asarray(taps)


class Filtered(Halved):
    def __init__(self, spec: Spec, inner: Filter, large: Tensor, network: nn.Module) -> None:
        super().__init__(spec)
        self.inner, self._large, self.network = inner, large, network
        self.network.requires_grad_(False)


def test_a_codec_is_what_it_holds(tmp_path: Path) -> None:
    data = EightGaussians(50)

    def codec(tap: float = 1.0, entry: float = 0.0, weight: float = 0.5) -> Codec:
        network = nn.Linear(1, 1)
        nn.init.constant_(network.weight, weight)
        nn.init.zeros_(network.bias)
        keep_elsewhere(network)  # an autoencoder of another run
        large = torch.zeros(5000)
        large[2500] = entry
        return Filtered(data.spec, Filter([tap, 2.0]), large, network)

    assert key(data, codec()) == key(data, codec())
    keys = {key(data, one) for one in (codec(), codec(tap=1.5), codec(entry=1.0), codec(weight=0.25))}
    assert len(keys) == 4


def test_the_name_is_that_of_another_process(tmp_path: Path) -> None:
    """Neither addresses nor the order of a set, which each process draws anew, are in it."""
    program = (
        "from flowloom_warehouse.content import content\n"
        "class A: pass\n"
        "a = A(); a.f, a.s, a.g = A(), {'x', 'y', 'z', 1}, len\n"
        "print(content([a, {'k': a}]))\n"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(made) == 1


def test_what_cannot_be_told_is_not_kept(tmp_path: Path) -> None:
    data = EightGaussians(50)
    codec = Halved(data.spec)
    codec.gate = threading.Lock()
    with pytest.raises(IncompatibleError, match=r"cannot tell this codec or a view .*keep: false"):
        key(data, codec)
    flow = flow_of(data)
    flow.codec = codec
    batch(started(Encoded(data, keep=False), flow), 0)


def test_files_tell_data_without_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    for i in range(2):
        files.tar(shards / f"{i}.tar", 10 * i, 10, endings="few")
    said = {"conditions": {"label": "cls"}, "classes": {"label": 4}}

    def data(**more) -> TarShards:
        return TarShards(str(shards), **{**said, **more})

    first = key(data())
    monkeypatch.setattr(Encoded, "_rows_told", lambda self: pytest.fail("read"))
    assert key(data()) == first
    assert key(data(held_out=0.2)) != first
    assert key(data(), views=(Shifted(1.0),)) != key(data(), views=(Shifted(2.0),))
    files.tar(shards / "1.tar", 50, 10, endings="few")
    assert key(data()) != first


class Shifted(View):
    random = False

    def __init__(self, by: float) -> None:
        self.by = by

    def spec(self, spec: Spec) -> Spec:
        return spec

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        return Examples(examples.x + self.by, examples.cond)


def test_encoding_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = EightGaussians(100)
    flow = flow_of(data, Halved(data.spec))
    cut = started(Encoded(data, folder=tmp_path, chunk=16), flow)
    before, calls = Encoded._encoded, []

    def dying(self, flow, rows):
        calls.append(int(rows[0]))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return before(self, flow, rows)

    monkeypatch.setattr(Encoded, "_encoded", dying)
    with pytest.raises(KeyboardInterrupt):
        batch(cut, 0)
    calls.clear()
    calls.extend([-1] * 10)
    late = started(Encoded(data, folder=tmp_path, chunk=16), flow)
    assert batch(late, 2).x1.equal(batch(started(Rows(data), flow), 2).x1)
    assert calls[10] == 48, "the three chunks that are there are not encoded again"


def test_what_is_drawn_anew_cannot_be_kept(tmp_path: Path) -> None:
    class Jitter(View):
        random = True

        def spec(self, spec: Spec) -> Spec:
            return spec

        def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
            return examples

    data = EightGaussians(100)
    with pytest.raises(IncompatibleError, match="view Jitter draws it anew"):
        started(Encoded(data, [Jitter()], folder=tmp_path), flow_of(data))


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    data = EightGaussians(50)
    feed = started(Encoded(data, folder=tmp_path), flow_of(data))
    batch(feed, 0)
    file = next(tmp_path.glob("*/x.npy"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="is damaged"):
        batch(started(Encoded(data, folder=tmp_path), feed.feeding.flow), 0)


class Vast(Dataset):
    """A hundred million rows, each made when it is asked for."""

    spec = Spec((4,))

    def __len__(self) -> int:
        return 10**8

    def take(self, rows: Tensor) -> Examples:
        return Examples(rows[:, None].float() * torch.tensor([1.0, 0.5, 0.25, 0.125]) / 1e8)


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_memory_is_constant_at_a_hundred_million_rows(tmp_path: Path) -> None:
    data = Vast()
    torch.manual_seed(0)
    flow = Flow(MLP(data.spec, width=4), spec=data.spec)
    feed = started(Beside(data, workers=0), flow, 256)
    batch(feed, 0)
    before = resident()
    tracemalloc.start()
    seen = torch.cat([feed.rows(k) for k in range(0, 300_000, 3000)])
    for k in range(50):
        batch(feed, k * 7919)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(seen.unique()) == len(seen), "an epoch has no row twice"
    assert int(seen.max()) > 9.9e7
    assert peak < 4e6
    assert resident() - before < 50e6


def test_states_on_disk_are_not_held_in_memory(tmp_path: Path) -> None:
    """A file of a hundred million rows, whose holes take no place on the disk."""
    import json

    n = 10**8
    file = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype="float32", shape=(n, 4))
    file[n - 1], file[12_345_678] = 7, 3
    del file
    (tmp_path / "index.json").write_text(json.dumps({"rows": n, "files": ["x.npy"]}))
    store = _Store(tmp_path)
    rows = torch.randint(n, (256,))
    store.take(rows)
    before = resident()
    for _ in range(20):
        store.take(torch.randint(n, (256,)))
    found = store.take(torch.tensor([n - 1, 0, 12_345_678])).x
    assert isinstance(found, Tensor)
    assert found[:, 0].tolist() == [7, 0, 3]
    assert resident() - before < 100e6
