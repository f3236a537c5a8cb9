"""One thread: the tensors are tiny. Recipes at the papers' sizes are built without memory."""

import pytest
import torch

from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.runs.assembly import assemble

IMAGES = """
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec

class Images(Dataset):
    spec = Spec((3, SIDE, SIDE), conditions={"label": Condition(1000)}, limits=(-1.0, 1.0))

    def __len__(self): return 8
    def take(self, rows): return Examples(torch.zeros(len(rows), 3, SIDE, SIDE), {"label": rows})
    def split(self, name): return self
"""


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def papers_flow(tmp_path):
    """The flow of a recipe of images of 1000 classes, of its last stage, on the meta device."""

    def build(name, side):
        (tmp_path / "images.py").write_text(IMAGES.replace("SIDE", str(side)))
        data = f"data={{use: '{tmp_path / 'images.py'}:Images'}}"
        planned = {}
        with torch.device("meta"):
            for one in stages_of(load_recipe(name, overrides=[data])):
                planned[one.stage.name] = assemble(one, planned=planned)
        return list(planned.values())[-1].flow

    return build
