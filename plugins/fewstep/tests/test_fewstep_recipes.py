"""Recipes: they build, run, stop and go on bit for bit, and have the papers' sizes at the papers' scale."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from flowloom.spec import Condition, Spec
from flowloom.training import load_checkpoint, save_checkpoint
from flowloom_registry.config.build import build
from flowloom_registry.config.nodes import plain
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.runs.assembly import assemble

LATENTS = """
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec

class Latents(Dataset):
    '''Latents of ImageNet in shape only.'''
    spec = Spec((4, 32, 32), conditions={"label": Condition(1000)})

    def __len__(self): return 8
    def take(self, rows): return Examples(torch.zeros(len(rows), 4, 32, 32), {"label": rows})
    def split(self, name): return self
"""
MEANFLOW = {
    "B/2": ("{use: dit, size: B, patch: 2}", 131),
    "M/2": ("{use: dit, width: 1024, depth: 16, heads: 16, patch: 2}", 308),
    "L/2": ("{use: dit, size: L, patch: 2}", 459),
    "XL/2": ("{use: dit, size: XL, patch: 2}", 676),
}


def size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.fixture
def latents(tmp_path):
    file = tmp_path / "latents.py"
    file.write_text(LATENTS)
    return f"data={{use: '{file}:Latents'}}"


@pytest.mark.parametrize("size", MEANFLOW)
def test_meanflow_has_the_paper_s_sizes(size, latents):
    """2505.13447, table 4, in millions of parameters, digits after the point dropped."""
    pytest.importorskip("flowloom_images")
    model, millions = MEANFLOW[size]
    recipe = load_recipe("imagenet-meanflow-xl-2", overrides=[latents, f"model={model}"])
    with torch.device("meta"):
        built = build(recipe)
    assert sum(p.numel() for p in built["model"].parameters()) // 10**6 == millions
    assert built["objective"].guided.effective_scale == pytest.approx(2.5)


RELATED = {"alphaflow": 676, "soflow": 676, "tvm": 676}


@pytest.mark.parametrize("name", RELATED)
def test_its_relatives_have_the_same_network(name, latents):
    """DiT-XL/2 with a second time: 676 million, as in their papers (2510.20771, 2512.15657, 2511.19797)."""
    pytest.importorskip("flowloom_images")
    with torch.device("meta"):
        built = build(load_recipe(f"imagenet-{name}-xl-2", overrides=[latents]))
    assert sum(p.numel() for p in built["model"].parameters()) // 10**6 == RELATED[name]


RECTIFIED = """
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Spec

class Pixels(Dataset):
    '''CIFAR-10 in shape only.'''
    spec = Spec((3, 32, 32))

    def __len__(self): return 8
    def take(self, rows): return Examples(torch.zeros(len(rows), 3, 32, 32))
    def split(self, name): return self
"""


@pytest.mark.parametrize("name", ["cifar10-consistency-fm", "cifar10-bellman"])
def test_cifar10_has_the_network_of_rectified_flow(name, tmp_path):
    """The DDPM++ of 2011.13456 with four blocks a level, as in 2209.03003 and both papers: 61.8 million."""
    pytest.importorskip("flowloom_images")
    file = tmp_path / "pixels.py"
    file.write_text(RECTIFIED)
    first = next(iter(stages_of(load_recipe(name, overrides=[f"data={{use: '{file}:Pixels'}}"]))))
    with torch.device("meta"):
        built = build(first)
    assert sum(p.numel() for p in built["model"].parameters()) == 61_804_419


@pytest.mark.parametrize("rank", [None, 4])
def test_straightening_trains_all_of_it_or_two_in_a_hundred(rank, tmp_path):
    """2312.16414: all weights, or additions of rank 4 to every layer, which are 2 % of them."""
    pytest.importorskip("flowloom_images")
    file = tmp_path / "pixels.py"
    file.write_text(RECTIFIED)
    overrides = [f"data={{use: '{file}:Pixels'}}"]
    if rank is not None:
        low = f"{{use: low-rank, network: {{run: flow, part: model, frozen: false}}, rank: {rank}}}"
        overrides.append(f"stages.straight.model={low}")
    planned = {}
    for stage in stages_of(load_recipe("cifar10-bellman", overrides=overrides)):
        with torch.device("meta"):
            planned[stage.stage.name] = assemble(stage, planned=planned)
    flow = planned["straight"].flow
    assert flow.objective.solver is flow.solver
    trained = sum(p.numel() for p in flow.trainable().values())
    assert trained / size(flow.model) == pytest.approx(1 if rank is None else 0.019, abs=5e-4)
    assert size(flow.model) - (0 if rank is None else trained) == 61_804_419


def test_free_flow_distils_a_sit_xl(latents):
    """2511.19428: SiT-XL/2 of 675 million, whose student embeds a second time."""
    pytest.importorskip("flowloom_images")
    planned = {}
    for stage in stages_of(load_recipe("imagenet-free-flow-xl-2", overrides=[latents])):
        with torch.device("meta"):
            planned[stage.stage.name] = assemble(stage, planned=planned)
    teacher, student = (sum(p.numel() for p in one.flow.model.parameters()) for one in planned.values())
    assert teacher // 10**6 == 674
    assert student - teacher == TIME
    learning = {name.split(".")[0] for name in planned["student"].flow.trainable()}
    assert "model" in learning


TIME = 256 * 1152 + 1152 + 1152 * 1152 + 1152  # the embedding that a DiT-XL has for times


def test_adversarial_flow_has_the_paper_s_size(latents):
    """2511.22475 and its code: DiT-XL/2 twice, without the time (674,816,272 with it)."""
    pytest.importorskip("flowloom_images")
    with torch.device("meta"):
        built = build(load_recipe("imagenet-adversarial-flow-xl-2", overrides=[latents]))
    count = [sum(p.numel() for p in m.parameters()) for m in (built["model"], built["objective"].critic)]
    head, steer = 1152 * 16 + 16, 1152 * 2304 + 2304
    assert count == [674_816_272 - TIME, 674_816_272 - TIME - head - steer + 2 * 1152]
    # A critic's call, so that the meta device has seen all of it.
    labels = torch.zeros(2, dtype=torch.long, device="meta")
    x, t = torch.zeros(2, 4, 32, 32, device="meta"), torch.ones(2, device="meta")
    assert built["objective"].critic(x, t, label=labels).shape == (2,)


def test_blockwise_flow_matching_has_the_size_of_the_authors_network(latents):
    """2510.21167: 6 blocks of 5 layers, a trunk of 20, R of 4, modulations of rank 288, from their code."""
    single = ["stages=null", "model=blockwise-dit", "objective=blockwise", "guidance=null"]
    with torch.device("meta"):
        model = build(load_recipe("imagenet-bfm-xl", overrides=[latents, *single]))["model"]
    d, low = 1152, 288
    plain = 12 * d * d + 9 * d + 2 * 72  # attention with its two norms, and feed-forward
    steer = {told: told * low + low + low * 6 * d + 6 * d for told in (d, 2 * d)}
    embedding = TIME + 1000 * d + d  # with what stands for a withheld class
    ends = 2 * (16 * d + d) + (2 * d * 2 * d + 2 * d) + (16 * d + 16)
    shared = (d * 6 * d + 6 * d) + (2 * d * 6 * d + 6 * d)
    head = (d * 2048 + 2048) + (2048 * 2048 + 2048) + (2048 * 768 + 768)
    rest = 4 * (plain + d * 6 * d + 6 * d)
    whole = 20 * (plain + steer[d]) + 30 * (plain + steer[2 * d]) + embedding + ends + shared + head + rest
    assert sum(p.numel() for p in model.parameters()) == whole


def test_the_refiner_of_flowturbo_has_one_block_of_sit_xl():
    """2409.18128: a block of SiT-XL/2's width with twice the channels, 4 to 5 % of its 675 million."""
    pytest.importorskip("flowloom_images")
    from flowloom_images.models.dit import DiT
    from flowloom_images.models.dit_beside import DiTBeside

    told = plain(load_recipe("imagenet-flowturbo-xl-2").tree)["model"]
    assert told.pop("use") == "dit-beside"
    label = {"label": Condition(1000)}
    with torch.device("meta"):
        beside = Spec((4, 32, 32), conditions={**label, "previous": Condition(shape=(4, 32, 32))})
        networks = DiTBeside(beside, **told), DiT(Spec((4, 32, 32), conditions=label), "XL")
    refiner, teacher = (sum(p.numel() for p in m.parameters()) for m in networks)
    assert teacher // 10**6 == 674
    assert 0.04 < refiner / teacher < 0.05


def test_the_student_of_faces_has_the_authors_u_net(latents):
    """2412.16906: the ADM of LFM with 256 channels, (1, 2, 2, 2), two blocks, four heads, without classes."""
    pytest.importorskip("flowloom_images")
    recipe = load_recipe("self-corrected-celeba-256", overrides=[latents])
    with torch.device("meta"):
        teacher = next(iter(stages_of(recipe)))
        built = build(teacher)
    assert sum(p.numel() for p in built["model"].parameters()) == 176_530_948


def test_gmflow_has_two_in_a_thousand_more_than_a_dit_xl(latents):
    """2504.05304, section 4.2: 0.2 % more than DiT-XL/2 for K = 8; layers from the authors' code."""
    pytest.importorskip("flowloom_images")
    recipe = load_recipe("imagenet-gmflow-xl-2", overrides=[latents, "model.network.out_channels=40"])
    with torch.device("meta"):
        model = build(recipe)["model"]
        x, t = torch.zeros(2, 4, 32, 32), torch.zeros(2)
        mixture = model.mixture(x, t, {"label": torch.zeros(2, dtype=torch.long)})
    assert mixture.means.shape == (2, 8, 4, 32, 32)
    assert mixture.log_weights.shape == (2, 8, 1, 32, 32)
    plain = 674_816_272  # DiT-XL/2 with 16 numbers a token, of which there are 160 now
    deviation = 1152 * 1024 + 1024 + 1024 + 1
    assert size(model) == plain + 144 * (1152 + 1) + deviation
    assert round(100 * (size(model) / plain - 1), 1) == 0.2


@pytest.mark.parametrize(
    ("attention", "whole"), [([16], 44_807_843), ([16, 8], 46_210_083)], ids=["CIFAR-10", "ImageNet-32"]
)
def test_hierarchical_rectified_flow_has_the_authors_twin_u_nets(attention, whole, tmp_path):
    """2502.17436 and its code: 44.81 M and 46.21 M, with the last block of states, which nothing reads."""
    pytest.importorskip("flowloom_images")
    file = tmp_path / "pixels.py"
    file.write_text(RECTIFIED)
    told = [f"data={{use: '{file}:Pixels'}}", f"model.attention={attention}"]
    with torch.device("meta"):
        model = build(load_recipe("cifar10-hrf-coupling", overrides=told))["model"]
    norms, convolutions = 2 * 64 + 2 * 32, 9 * 64 * 32 + 32 + 9 * 32 * 32 + 32
    unread = norms + convolutions + (512 * 32 + 32) + (64 * 32 + 32)
    assert size(model) + unread == whole


CAPTIONED = LATENTS.replace('{"label": Condition(1000)}', '{"text": Condition(shape=(128, 4096))}')


def test_transition_matching_has_the_paper_s_trunk_and_head(tmp_path):
    """2506.23589, A.1: 24 blocks of width 2,048, a head of 6 layers; 1.7 B and 40 M, rounded."""
    file = tmp_path / "captioned.py"
    file.write_text(CAPTIONED)
    recipe = load_recipe("transition-matching-t2i", overrides=[f"data={{use: '{file}:Latents'}}"])
    with torch.device("meta"):
        model = build(recipe)["model"]
    d, w = 2048, 1024
    block = 4 * (d * d + d) + 4 * (d * d + d) + 8 * d * d + 5 * d + 6 * d  # attentions, feed-forward, offsets
    ends = (16 * d + d) + (256 * d + d + d * d + d) + (4096 * d + d + d * d + d) + (d * 6 * d + 6 * d)
    layer = 2 * (w * w + w) + 2 * w + 3 * (w * w + w)
    told = (256 * w + w + w * w + w) + (d * w + w)
    head = 6 * layer + told + (16 * w + w) + 2 * (w * w + w) + (16 * w + 16)
    assert size(model) == 24 * block + ends + head == 1_691_113_488
    assert round((24 * block + ends) / 1e9, 1) == 1.7
    assert round(head / 1e7) == 4


@pytest.mark.parametrize(("name", "states"), {"artm-t2i": 2, "fhtm-t2i": 4}.items())
def test_its_variants_token_by_token_have_the_same_network(name, states, tmp_path):
    """And an embedding of which state a token is of."""
    file = tmp_path / "captioned.py"
    file.write_text(CAPTIONED)
    with torch.device("meta"):
        built = build(load_recipe(name, overrides=[f"data={{use: '{file}:Latents'}}"]))
    assert size(built["model"]) == 1_691_113_488 + states * 2048
    assert built["objective"].levels == (0, 0.5, 0.75, 1)


LARGE = LATENTS.replace("32, 32", "64, 64")


def test_align_your_flow_distils_an_edm2_s(tmp_path):
    """2506.14603: EDM2-S of 280.2 M (2312.02696, table 2), guided by an EDM2-XS of 124.7 M."""
    pytest.importorskip("flowloom_images")
    file = tmp_path / "large.py"
    file.write_text(LARGE)
    planned = {}
    for stage in stages_of(
        load_recipe("imagenet-align-your-flow-s", overrides=[f"data={{use: '{file}:Latents'}}"])
    ):
        with torch.device("meta"):
            planned[stage.stage.name] = assemble(stage, planned=planned)
    found = {name: size(one.flow.model) for name, one in planned.items()}
    assert found["teacher"] == 280_212_709
    assert found["weak"] == 124_713_125
    assert found["student"] - found["teacher"] == 192 * 768  # the second time


SMALL = ["train.steps=10", "train.batch=8"]
RECIPES = {
    "meanflow-checkerboard": [],
    "meanflow-sphere": [],
    "meanflow-digits": [
        "model={use: unet, width: 8, multipliers: [1, 1], blocks: 1, attention: [4], head_width: 8}"
    ],
    "adversarial-flow-ring": ["objective.critic_moves=2"],  # two optimisers, two moves to one
    "adversarial-flow-ring-any": [],
    "alphaflow-checkerboard": [],  # the last steps by another loss
    "splitmeanflow-checkerboard": [],
    "soflow-checkerboard": [],
    "tvm-checkerboard": [],  # against its average
    "modular-meanflow-checkerboard": [],
    "consistency-fm-checkerboard": [],
    "transition-matching-checkerboard": [],
    "hrf-coupling-checkerboard": [],
    "gmflow-checkerboard": [],
}


def state(trainer) -> dict[str, torch.Tensor]:
    found = {f"flow.{k}": v for k, v in trainer.flow.state_dict().items()}
    found |= {f"ema.{k}": v for k, v in trainer.averaged().state_dict().items()}
    for player in trainer.players:
        found |= {f"{player.turn.name}.{k}": v for k, v in player.state().items()}
    return {k: v.clone() for k, v in found.items()}


def trainer_of(recipe: str):
    assembly = assemble(load_recipe(recipe, overrides=[*SMALL, *RECIPES[recipe]]))
    return assembly.flow.trainer(assembly.data, assembly.train, seed=3)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if "digits" in name else []) for name in RECIPES],
)
def test_a_run_that_was_stopped_goes_on_bit_for_bit(name, tmp_path):
    if name in ("meanflow-digits", "meanflow-sphere"):
        pytest.importorskip("flowloom_images" if "digits" in name else "flowloom_geometries")
    whole = trainer_of(name)
    for _ in whole.run():
        pass
    first = trainer_of(name)
    for _ in first.run(6):
        pass
    folder = save_checkpoint(first, tmp_path)
    second = trainer_of(name)
    load_checkpoint(second, folder)
    assert second.step == 6
    for _ in second.run():
        pass
    expected, found = state(whole), state(second)
    assert expected.keys() == found.keys()
    assert [k for k, v in expected.items() if not torch.equal(v, found[k])] == []


@pytest.mark.slow
def test_a_killed_run_of_two_players_goes_on_bit_for_bit(tmp_path, apart):
    """SIGKILL, then the same command again: weights, averages and both optimisers have the same bits."""
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "extends: adversarial-flow-ring\nseed: 3\nobjective: {critic_moves: 2}\n"
        "scores: []\nmetrics: []\nrenderer: null\n"
        "train: {steps: 200, batch: 32, checkpoint_every: 25, log_every: 5}\n"
    )

    apart.finish(apart.start(recipe, tmp_path / "whole"), 300)
    process = apart.start(recipe, tmp_path / "run")
    apart.wait_for_step(tmp_path / "run", 65, process, 300)
    process.kill()
    process.communicate()
    apart.finish(apart.start(recipe, tmp_path / "run"), 300)
    last = sorted((tmp_path / "whole" / "checkpoints").iterdir())[-1].name
    for file in ("flow", "ema", "optimizers"):
        expected, found = (
            load_file(tmp_path / run / "checkpoints" / last / f"{file}.safetensors")
            for run in ("whole", "run")
        )
        assert expected.keys() == found.keys()
        assert [name for name, value in expected.items() if not value.equal(found[name])] == []
    assert any("critic" in name for name in expected)
