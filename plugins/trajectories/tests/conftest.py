"""One thread: tensors are tiny. Small files of the layouts that are read."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def walk_file(tmp_path):
    """Write straight walks: agent -> (first frame, sightings), at 1 m a sighting, apart by id."""

    def write(agents, name="walks.txt", between="\t", step=10, skip=()):
        lines = []
        for agent, (first, count) in agents.items():
            for i in range(count):
                if (agent, i) not in skip:
                    lines.append(between.join([f"{first + i * step}", f"{agent}.0", f"{i}.0", f"{agent}.0"]))
        file = tmp_path / name
        file.write_text("\n".join(lines) + "\n")
        return file

    return write
