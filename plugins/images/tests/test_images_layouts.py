"""LayoutFlow's parts against formulas written out by hand, and what must not change when it is killed or
asked."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from flowloom.errors import DataError, IncompatibleError
from flowloom.layout import Layout
from flowloom.objectives import Batch, Step
from flowloom.solvers import Euler
from flowloom.spec import Spec
from flowloom.training.loop import Trainer
from flowloom_images.layouts import (
    RICO,
    ArrangeLayout,
    LayoutCodec,
    LayoutFlow,
    LayoutQuality,
    LayoutTransformer,
    Pages,
    PubLayNet,
    misalignment,
    overlap,
)
from flowloom_images.layouts.spec import PARTS, layout_spec
from flowloom_registry import build, load_recipe
from flowloom_registry.cli import main
from flowloom_registry.runs.assembly import assemble

PAGES = Pages(400)
CODEC = LayoutCodec(PAGES.spec)
STATES = CODEC.encode(PAGES.all())


def page_of_publaynet(file, images):
    told = {
        "categories": [{"id": 1, "name": "text"}, {"id": 5, "name": "figure"}],
        "images": [{"id": i, "width": 200, "height": 400} for i in range(images)],
        "annotations": [
            {"image_id": 0, "bbox": [20, 40, 100, 80], "category_id": 1},
            {"image_id": 0, "bbox": [0, 0, 200, 400], "category_id": 5},
            {"image_id": 1, "bbox": [0, 0, 0, 10], "category_id": 1},
            {"image_id": images - 1, "bbox": [0, 0, 0, 10], "category_id": 1},
        ],
    }
    if images > 3:
        told["annotations"].append({"image_id": 2, "bbox": [0, 0, 9, 9], "category_id": 1})
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(told))


def screens_of_rico(folder):
    folder.mkdir(parents=True)
    leaf = {"componentLabel": "Icon", "bounds": [0, 0, 50, 100]}
    tree = {"bounds": [0, 0, 100, 200], "children": [{"bounds": [0, 0, 100, 100], "children": [leaf]}]}
    for i in range(4):
        (folder / f"{i}.json").write_text(json.dumps(tree))


def boxes(examples):
    return torch.cat([examples.x["position"], examples.x["size"]], -1)


def step(seed=0):
    return Step(generator=torch.Generator().manual_seed(seed))


class Fixed(nn.Module):
    """The same answers everywhere; keeps what it was asked."""

    def __init__(self, answers):
        super().__init__()
        self.answers = nn.ParameterDict(answers)

    def forward(self, x, t, /, **cond):
        self.x, self.t, self.cond = x, t, cond
        return dict(self.answers.items())


def noise(seed, like):
    draws = torch.Generator().manual_seed(seed)
    return {k: torch.randn(v.shape, generator=draws) for k, v in like.items()}


def test_types_are_binary_digits():
    types = torch.tensor([[0, 1, 2, 3, 4] + [0] * 7])
    coded = CODEC.encode_state({"types": types})["types"][0, :5]
    assert coded.tolist() == [[-1, -1, -1], [1, -1, -1], [-1, 1, -1], [1, 1, -1], [-1, -1, 1]]
    rough = coded + torch.tensor([0.9, -0.3, 0.4])  # no sign changes
    assert CODEC.decode_state({"types": rough[None]})["types"].tolist() == [[0, 1, 2, 3, 4]]
    beyond = torch.ones(1, 12, 3)
    assert CODEC.decode_state({"types": beyond})["types"].unique().tolist() == [4]
    assert CODEC.encode_state({"size": torch.tensor([0.0, 0.25, 1.0])})["size"].tolist() == [-1, -0.5, 1]
    with pytest.raises(IncompatibleError, match="one holds types"):
        LayoutCodec(Spec((3,)))


def test_pages_keep_their_rules():
    pages = PAGES.all()
    real, types = pages.cond["real"], pages.x["types"]
    assert overlap(boxes(pages), real).max() < 1e-4
    assert misalignment(boxes(pages), real).max() < 1e-4
    count = real.sum(1)
    assert (int(count.min()), int(count.max())) == (4, 12)
    assert ((types == 0) & real).sum(1).eq(1).all()
    assert ((types == 4) & real).sum(1).eq(1).all()
    low, high = (
        boxes(pages)[..., :2] - boxes(pages)[..., 2:] / 2,
        boxes(pages)[..., :2] + boxes(pages)[..., 2:] / 2,
    )
    assert low[real].min() > 0.05
    assert high[real].max() < 0.95
    title = (types == 0) & real
    assert 0.05 < float(title[:, 0].float().mean()) < 0.4, "the title always comes first: order leaks"


def test_overlap_and_misalignment_of_boxes_by_hand():
    real = torch.tensor([[True, True, False]])
    pair = torch.tensor([[[0.2, 0.5, 0.2, 0.2], [0.3, 0.5, 0.4, 0.2], [0.2, 0.5, 0.2, 0.2]]])
    # They share 0.2 x 0.2: all of the first, half of the second. The third is padding.
    assert torch.allclose(overlap(pair, real), torch.tensor([1.5]), atol=1e-5)
    assert misalignment(pair, real).item() == 0  # one height
    pair[0, 1, 1], pair[0, 1, 3] = 0.57, 0.3  # upper 0.42 for 0.4; lower, centre and x lines are further
    pair[0, 1, 0] = 0.65
    wanted = 2 * -torch.log(torch.tensor(1 - 0.02))
    assert torch.allclose(misalignment(pair, real), wanted[None], atol=1e-5)


def test_quality_tells_pages_from_scattered_boxes():
    half = PAGES.take(torch.arange(200)), PAGES.take(torch.arange(200, 400))
    draws = torch.Generator().manual_seed(0)
    other = {**half[0].x, "position": torch.rand(200, 12, 2, generator=draws)}
    metric = LayoutQuality(5)
    good, bad = metric(half[0], half[1]), metric(type(half[0])(other, half[0].cond), half[1])
    assert all(bad[name] > 5 * good[name] + 1e-3 for name in good)


def test_loss_is_the_papers_over_what_is_free():
    n = 40
    x1 = {k: v[:n] for k, v in STATES.x.items()}
    x0, answers, real = noise(0, x1), noise(1, x1), STATES.cond["real"][:n]
    layout = Layout(dict.fromkeys(PARTS, real))
    objective, model = LayoutFlow(CODEC.spec), Fixed(answers)
    found = objective.loss(model, Batch(x0, x1, {"real": real}, layout), step(3))
    given = {p: model.cond[f"given_{p}"] for p in PARTS}
    time = model.t[:, None, None]
    square = absolute = entries = boxed = 0
    seen = torch.zeros(n)
    for part in PARTS:
        free = (real & ~given[part])[..., None]
        # What is given stands clean in the network's input at every time.
        wanted = torch.where(free, (1 - time) * x0[part] + time * x1[part], x1[part])
        assert torch.allclose(model.x[part][real], wanted[real], atol=1e-6)
        error = (answers[part] - (x1[part] - x0[part])) * free
        square, entries = square + error.square().sum((1, 2)), entries + real.sum(1) * error.shape[-1]
        if part != "types":
            absolute, boxed = absolute + error.abs().sum((1, 2)), boxed + real.sum(1) * 2
        seen = seen + free.sum((1, 2))
    total = (square / entries).mean() + 0.2 * (absolute / boxed).mean()
    assert torch.allclose(found.total, total, atol=1e-5)
    assert torch.allclose(found.parts["flow_matching"], (square / entries).mean(), atol=1e-5)
    assert 0 < int((seen < real.sum(1) * 3).sum()) < n


def test_answers_are_compared_as_what_is_asked():
    """Of predicted data the velocity's error is that of the data over 1 - t, on the straight path."""
    x1 = {k: v[:20] for k, v in STATES.x.items()}
    real = STATES.cond["real"][:20]
    layout, x0 = Layout(dict.fromkeys(PARTS, real)), noise(0, x1)
    off = {k: v + 0.1 for k, v in x1.items()}

    def loss(**more):
        model = Fixed(off)
        objective = LayoutFlow(CODEC.spec, predict="data", tasks=["all"], box_weight=0.0, **more)
        found = objective.loss(model, Batch(x0, x1, {"real": real}, layout), step(1)).total
        return found, model.t

    plain, t = loss()
    velocity, same = loss(compare_as="velocity")
    assert torch.equal(t, same)
    assert torch.allclose(plain, torch.tensor(0.01), atol=1e-5)
    assert torch.allclose(velocity, (0.01 / (1 - t).square()).mean(), rtol=1e-3)


@pytest.mark.parametrize("predict", ["velocity", "noise", "data"])
def test_what_is_given_has_no_error_whatever_is_predicted(predict):
    x1 = {k: v[:20] for k, v in STATES.x.items()}
    real = STATES.cond["real"][:20]
    layout = Layout(dict.fromkeys(PARTS, real))
    objective = LayoutFlow(CODEC.spec, predict=predict, tasks=["types-and-sizes"], box_weight=0.0)
    x0 = noise(0, x1)
    target = {"velocity": x1["position"] - x0["position"], "noise": x0["position"], "data": x1["position"]}[
        predict
    ]
    exact = Fixed({"position": target, "size": x1["size"], "types": x1["types"]})
    batch = Batch(x0, x1, {"real": real}, layout)
    assert objective.loss(exact, batch, step()).total < 1e-10


def test_tasks_are_drawn_as_often_and_give_what_they_say():
    real = PAGES.all().cond["real"].repeat(10, 1)
    given = LayoutFlow(CODEC.spec).marks(real, torch.Generator().manual_seed(0))
    place, size, types = (given[f"given_{p}"] for p in PARTS)
    assert not (place | size | types)[~real].any()
    all_types = (types == real).all(1)
    kinds = {
        "all": ~types.any(1),
        "complete": place.any(1),
        "types": all_types & ~size.any(1),
        "types-and-sizes": all_types & (size == real).all(1) & ~place.any(1),
    }
    for name, rows in kinds.items():
        assert abs(float(rows.float().mean()) - 0.25) < 0.03, name
    chosen = place[kinds["complete"]]
    assert torch.equal(chosen, types[kinds["complete"]])
    count, whole = chosen.sum(1), real[kinds["complete"]].sum(1)
    assert (count >= 1).all()
    assert (count <= (0.2 * whole).long() + 1).all()
    lone = torch.tensor([[True] + [False] * 11] * 50)
    assert not LayoutFlow(CODEC.spec, tasks=["complete"]).marks(lone, None)["given_types"].any()
    with pytest.raises(ValueError, match="tasks are among"):
        LayoutFlow(CODEC.spec, tasks=["colour"])


def network(**more):
    torch.manual_seed(0)
    spec = CODEC.spec.plus(LayoutFlow(CODEC.spec).conditions())
    sizes = {"width": 16, "depth": 2, "heads": 2, "hidden": 16, "embed": 8, "dropout": 0.0}
    return LayoutTransformer(spec, **sizes | more).eval()


def test_elements_have_no_order_and_marks_are_seen():
    model, x = network(), {k: v[:4] for k, v in STATES.x.items()}
    cond, t = {"real": torch.ones(4, 12, dtype=torch.bool)}, torch.full((4,), 0.4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    plain, turned = model(x, t, **cond), model({k: v[:, order] for k, v in x.items()}, t, **cond)
    assert all(torch.allclose(plain[p][:, order], turned[p], atol=1e-5) for p in PARTS)
    none = torch.zeros(4, 12, dtype=torch.bool)
    answers = [plain["size"]]
    for part in PARTS:
        marks = {f"given_{p}": ~none if p == part else none for p in PARTS}
        answers.append(model(x, t, **cond, **marks)["size"])
    # A given place and a given size are counted alike, as in the released table.
    assert torch.equal(answers[1], answers[2])
    assert not torch.allclose(answers[0], answers[1], atol=1e-4)
    assert not torch.allclose(answers[0], answers[3], atol=1e-4)


@pytest.mark.parametrize(("recipe", "bits"), [("layoutflow-publaynet", 3), ("layoutflow-rico", 5)])
def test_the_released_size(recipe, bits, tmp_path, monkeypatch):
    """By hand: blocks of 3,808,768, a head of 512 -> 4 + bits, and embeddings."""
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    page_of_publaynet(tmp_path / "publaynet" / "train.json", 25)
    screens_of_rico(tmp_path / "rico" / "semantic_annotations")
    with torch.device("meta"):
        built = build(load_recipe(recipe))
    block = 1_050_624 + 2_099_712 + 657_408 + 1024
    wanted = 4 * block + 1024 + 513 * (4 + bits) + 128 * (bits + 1) + 128 * 5 + 6 * 128 + 257 * 512
    assert wanted == {3: 15_373_191, 5: 15_374_473}[bits]
    assert sum(p.numel() for p in built["model"].parameters()) == wanted


@pytest.fixture(scope="module")
def small():
    made = assemble(load_recipe("layoutflow", overrides=["data.n=200", "train.steps=4", "train.batch=16"]))
    made.flow.fit(made.data, steps=4, batch=16)
    return made.flow, made.data.split("test").take(torch.arange(20))


@pytest.mark.parametrize("task", ["complete", "types", "types-and-sizes", "all", "refine"])
def test_given_parts_come_back_as_they_were(small, task):
    flow, asked = small
    answers = ArrangeLayout(task, solver=Euler(3))(flow, asked, seed=1)
    real = asked.cond["real"]
    for part in PARTS:
        given = answers.cond[f"given_{part}"]
        assert torch.equal(answers.x[part][given], asked.x[part][given])
        free = real & ~given
        if free.any() and part != "types":
            assert not torch.equal(answers.x[part][free], asked.x[part][free])
    held = {"all": 0, "types": 1, "refine": 1, "types-and-sizes": 2}
    if task in held:
        assert sum(bool(answers.cond[f"given_{p}"].any()) for p in PARTS) == held[task]


def test_refinement_starts_at_the_layout_late(small):
    flow, asked = small
    moved = ArrangeLayout("refine", late=0.97, solver=Euler(1))(flow, asked)
    known = flow.encode(asked).x
    marks = {f"given_{p}": asked.cond["real"] if p == "types" else ~asked.cond["real"] & False for p in PARTS}
    with torch.no_grad():
        slope = flow.model(known, torch.full((20,), 0.97), real=asked.cond["real"], **marks)
    wanted = asked.x["size"] + 0.03 * slope["size"] / 2  # states are twice as wide as data
    real = asked.cond["real"]
    assert torch.allclose(moved.x["size"][real], wanted[real], atol=1e-5)


def test_a_killed_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    class Killed(BaseException):
        """What no part of the program catches."""

    small = ("data.n=200", "train.steps=12", "train.batch=16", "train.checkpoint_every=3", "metrics=[]")
    sets = (*small, "sample.n=2", "solver.steps=2")
    command = ["run", "layoutflow", *(word for one in sets for word in ("--set", one)), "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    real_step = Trainer._step

    def dies(self):
        if self.step == 8:
            raise Killed
        return real_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", dies)
        with pytest.raises(Killed):
            main([*command, str(tmp_path / "cut")])
    assert main([*command, str(tmp_path / "cut")]) == 0
    last = sorted((tmp_path / "whole" / "checkpoints").iterdir())[-1]
    for file in last.glob("*.safetensors"):
        wanted, found = load_file(file), load_file(tmp_path / "cut" / "checkpoints" / last.name / file.name)
        assert wanted.keys() == found.keys()
        assert all(torch.equal(value, found[name]) for name, value in wanted.items()), file.name


def test_publaynet_is_read_from_coco_files(tmp_path):
    page_of_publaynet(tmp_path / "publaynet" / "val.json", 3)
    pages = PubLayNet(elements=3, root=tmp_path, part="test").all()
    assert pages.cond["real"].tolist() == [[True, True, False]]
    assert torch.allclose(boxes(pages)[0, 0], torch.tensor([0.35, 0.2, 0.5, 0.2]))
    assert pages.x["types"].tolist() == [[0, 4, 0]]
    with pytest.raises(DataError, match=r"lacks train\.json"):
        len(PubLayNet(root=tmp_path))
    with pytest.raises(DataError, match="get the annotations from"):
        len(PubLayNet(root=tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no page of 1 to 1"):
        len(PubLayNet(elements=1, root=tmp_path, part="test"))


def test_rico_is_read_from_trees(tmp_path):
    screens_of_rico(tmp_path / "rico" / "semantic_annotations")
    parts = {part: RICO(elements=2, root=tmp_path, part=part) for part in ("train", "val", "test")}
    assert {part: len(data) for part, data in parts.items()} == {"train": 1, "val": 1, "test": 2}
    assert torch.allclose(boxes(parts["train"].all())[0, 0], torch.tensor([0.25, 0.25, 0.5, 0.5]))
    assert parts["train"].all().x["types"][0, 0] == RICO.names.index("Icon")
    assert len(layout_spec(2, RICO.names).parts["types"].tokens) == 25


COCO = '{"categories": [{"id": 1, "name": "text"}], "images": [{"id": 0, "width": %s, "height": 9}], %s}'
BOX = '"annotations": [{"image_id": %s, "bbox": %s, "category_id": 1}]'


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", COCO % (0, BOX % (0, [0, 0, 1, 1])), COCO % (9, BOX % (3, [0, 0, 1, 1])),
     COCO % (9, BOX % (0, "null")), '{"bounds": null}', '{"bounds": [0, 0, 0, 0]}', "[" * 9999],
)  # fmt: skip
def test_annotations_of_another_form_are_one_line(tmp_path, text):
    (tmp_path / "publaynet").mkdir()
    (tmp_path / "publaynet" / "val.json").write_text(text)
    with pytest.raises(DataError, match=r"val.json: (it|annotation 0) holds no annotations of this kind"):
        len(PubLayNet(root=tmp_path, part="test"))
    folder = tmp_path / "rico" / "semantic_annotations"
    folder.mkdir(parents=True)
    (folder / "0.json").write_text(
        text if "[0, 0, 0, 0]" not in text else text[:-1] + ', "componentLabel": "Icon"}'
    )
    (folder / "._0.json").write_text("")
    with pytest.raises(DataError, match=r"/0.json: it holds no annotations of this kind"):
        len(RICO(root=tmp_path, part="test"))
