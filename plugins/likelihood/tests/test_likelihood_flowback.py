"""FlowBack: three graphs of the same numbers, classes by one gradient, and the paper's size."""

import pytest
import torch

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.objectives import Batch, Classification, Step
from flowloom.trained import Trained
from flowloom_images.data import Digits
from flowloom_images.models.classifier import ImageClassifier
from flowloom_likelihood.flowback import AlignedLikelihood, FlowClassifier
from flowloom_likelihood.flowback.encoder import patch_features
from flowloom_likelihood.models import StarFlow, TarFlow
from flowloom_likelihood.solver import Push
from flowloom_likelihood.starflow import NoisyLikelihood


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    data = Digits()
    return Trained(
        fl.Flow(ImageClassifier(data.spec, width=4), spec=data.spec, objective=Classification(noised=False))
    )


def aligned(encoder, **settings):
    torch.manual_seed(1)
    path = fl.paths.AffinePath()
    given = {"module": "body.12", "dim": 8, "width": 16, "blocks": [-1], "layer": 1, "hidden": 8}
    objective = AlignedLikelihood(path, encoder, **given | settings)
    model = TarFlow(Digits().spec, patch=2, blocks=3, depth=2, width=16, heads=2)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return fl.Flow(model, path=path, objective=objective, solver=Push())


def rows(flow, n=4):
    examples = flow.encode(Digits().take(torch.arange(n)))
    return Batch(examples.x, examples.x, examples.cond)


def reached(flow, batch):
    """Blocks whose parameters the gradient of the alignment alone reaches, from data to noise."""
    objective, model = flow.objective, flow.model
    inside, _ = model.trace(batch.x1, batch.cond)
    cosine = objective.alignment(model, batch.x1, inside, batch.cond)
    model.zero_grad()
    cosine.backward()

    def felt(block):
        return any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in block.parameters())

    return float(cosine.detach()), [felt(block) for block in model.blocks]


@pytest.mark.parametrize(
    ("blocks", "direction", "wanted"),
    [
        ([-1], "reverse", [False, False, True]),
        ([1], "reverse", [False, True, True]),
        ([1], "forward", [True, True, False]),
        ([1], "detached", [False, True, False]),
    ],
)
def test_each_direction_reaches_its_own_side_and_no_other(encoder, blocks, direction, wanted):
    flow = aligned(encoder, blocks=blocks, direction=direction)
    assert reached(flow, rows(flow))[1] == wanted


def test_all_directions_see_the_same_numbers(encoder):
    found = [
        reached(flow := aligned(encoder, blocks=[0, 1], direction=d), rows(flow))[0]
        for d in ("reverse", "forward", "detached")
    ]
    assert found[1:] == pytest.approx([found[0]] * 2, abs=1e-4)


def test_what_is_made_again_from_the_noise_is_what_was_read(encoder):
    flow = aligned(encoder)
    batch = rows(flow)
    with torch.no_grad():
        inside, _ = flow.model.trace(batch.x1, batch.cond)
        made = flow.objective.inputs(flow.model.blocks, inside, batch.cond, 0)
        for ours, theirs in zip(made, inside, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_without_strength_it_is_the_likelihood_and_the_encoder_never_learns(encoder):
    flow = aligned(encoder, strength=0.0)

    def step():
        return Step(generator=torch.Generator().manual_seed(0))

    loss = flow.objective.loss(flow.model, rows(flow), step())
    assert float(loss.total.detach()) == pytest.approx(float(loss.parts["bits_per_dim"]))
    flow.objective.strength = 0.5
    both = flow.objective.loss(flow.model, rows(flow), step())
    wanted = float(loss.total.detach()) - 0.5 * float(both.parts["alignment"])
    assert float(both.total.detach()) == pytest.approx(wanted, abs=1e-5)
    assert not any("encoder" in name for name in flow.trainable())
    assert any(name.startswith("objective.project") for name in flow.trainable())


def test_patch_features_are_those_of_the_patches_own_place(encoder):
    x = torch.randn(2, 1, 8, 8)
    found = patch_features(encoder, "body.12", x, (4, 4))
    flow = encoder.flow.model
    with torch.no_grad():
        whole = flow.body[:13](x)
    torch.testing.assert_close(found[:, 5], whole[:, :, 1, 1])
    assert patch_features(encoder, "body.12", x, (2, 2)).shape == (2, 4, 8)
    with pytest.raises(IncompatibleError, match="no module 'head'"):
        patch_features(encoder, "head", x, (4, 4))
    with pytest.raises(IncompatibleError, match="neither a map"):
        patch_features(encoder, "to_features", x, (4, 4))


def test_one_gradient_is_that_of_finite_differences_of_the_mixture(encoder):
    flow = aligned(encoder)
    flow.model.double()  # and not the encoder, which other tests share
    score, field = FlowClassifier(), flow.objective.field(flow.model)
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    slope = score._slope(flow.model, lambda cond: field.log_prob(x, cond), 3, 10)
    label = {"label": torch.zeros(3, dtype=torch.long)}
    for k in (0, 7):
        ends = []
        for step in (1e-5, -1e-5):
            logits = torch.zeros(3, 10, dtype=torch.float64)
            logits[:, k] = step
            with score._mixed(flow.model, logits), torch.no_grad():
                ends.append(field.log_prob(x, label))
        torch.testing.assert_close(slope[:, k], (ends[0] - ends[1]) / 2e-5, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(slope.sum(1), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)


def test_classes_that_the_flow_tells_apart_are_found_by_both_rules(encoder):
    """Two classes at -1 and 1, and a flow that moves each to 0: nothing is easier."""
    data = fl.data.Tensors(
        torch.cat([torch.full((20, 2, 1), -1.0), torch.full((20, 2, 1), 1.0)]),
        {"label": torch.arange(2).repeat_interleave(20)},
        spec=fl.Spec((2, 1), conditions={"label": fl.Condition(classes=2)}),
    )
    torch.manual_seed(0)
    path = fl.paths.AffinePath()
    flow = fl.Flow(
        StarFlow(data.spec, layers=(1,), width=8, heads=2),
        path=path,
        objective=NoisyLikelihood(path, noise=0.1, condition_dropout=0.0),
        solver=Push(),
    )
    flow.fit(data, steps=60, batch=20, lr=3e-2)
    found = FlowClassifier()(flow, flow.encode(data.all()))
    assert found == {"one_gradient_accuracy": 1.0, "bayes_accuracy": 1.0}
    mixed = []

    class Watched(FlowClassifier):
        def _mixed(self, model, logits):
            mixed.append(model)
            return super()._mixed(model, logits)

    Watched()(flow, flow.encode(data.all()))
    # Others may ask the flow meanwhile.
    assert mixed
    assert all(model is not flow.model for model in mixed)


def test_the_paper_aligns_blocks_7_and_8_at_layer_6_of_a_tarflow_of_818_million(papers_flow):
    flow = papers_flow("imagenet-flowback", 64)
    width, size, tokens = 1024, 48, 256
    each = size * width + width + tokens * width + 1000 * width + width + width * 2 * size + 2 * size
    count = sum(p.numel() for p in flow.model.parameters())
    assert count == 8 * (each + 8 * (12 * width**2 + 13 * width))
    assert round(count / 1e6) == 818
    objective = flow.objective
    assert objective._chosen(flow.model) == [6, 7]
    assert objective.layer == 6
    with torch.device("meta"):
        x = torch.zeros(1, 3, 64, 64)
        found = patch_features(objective.encoder, objective.module, x, (16, 16))
        assert found.shape == (1, tokens, objective.project[-1].out_features)


def test_blocks_and_layers_that_are_not_there_are_told(encoder):
    flow = aligned(encoder, blocks=[3])
    with pytest.raises(IncompatibleError, match="has 3 blocks"):
        flow.objective.loss(flow.model, rows(flow), Step())
    flow = aligned(encoder, layer=3)
    with pytest.raises(IncompatibleError, match="2 layers, fewer than 3"):
        flow.objective.turns(flow)
    flow = aligned(encoder, width=8)
    with pytest.raises(IncompatibleError, match=r"width 16, and objective\.width is 8"):
        flow.objective.turns(flow)
    flow = aligned(encoder, dim=4)
    with pytest.raises(IncompatibleError, match=r"size 8, and objective\.dim is 4"):
        flow.objective.loss(flow.model, rows(flow), Step())
    with pytest.raises(ValueError, match="reverse, forward or detached"):
        aligned(encoder, direction="back")
