"""Directions of an embedding: the loss written out, what it moves, and what it leaves alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import flowloom as fl
from flowloom.errors import DataError, IncompatibleError
from flowloom.objectives import Batch, Step
from flowloom.parts import tensors
from flowloom.trained import Trained
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom.training.feeds import PriorOnly
from flowloom_alignment.nada.adaptation import Adaptation
from flowloom_alignment.nada.directional import Directional
from flowloom_alignment.nada.frozen_layers import moving_most
from flowloom_alignment.nada.joint_encoder import ImageText, JointEncoder
from flowloom_alignment.nada.styled import STYLES, Styled, tokens_of

WHERE = {"left": [-1.0, 0.0], "right": [1.0, 0.0], "up": [0.0, 1.0]}


class Compass(nn.Module):
    """Embeds points as themselves, and words as places."""

    def __init__(self):
        super().__init__()
        self.spec = fl.Spec((2,))
        self.unit = nn.Parameter(torch.ones((), dtype=torch.float64))

    def images(self, x):
        return self.unit * x

    def texts(self, texts):
        return torch.tensor([WHERE[t] for t in texts], dtype=torch.float64)

    def forward(self, x, t, /, **cond):
        return self.images(x)


def adapted(gaussian, **settings):
    reference = Trained(fl.Flow(gaussian()))
    return Directional(Trained(fl.Flow(Compass())), reference, ["left"], ["right"], **settings)


def batch(n=40):
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(z, z * float("nan"))


def test_the_loss_is_the_angle_between_the_ways_of_images_and_of_texts(gaussian):
    """A shift s of the velocity moves every end; its angle to (2, 0) is known."""
    model, objective = gaussian(), adapted(gaussian, steps=3)
    for shift, wanted in (
        ([0.3, 0.0], 0.0),
        ([-0.3, 0.0], 2.0),
        ([0.0, 0.3], 1.0),
        ([0.3, 0.3], 1 - 0.5**0.5),
    ):
        with torch.no_grad():
            model.shift.copy_(torch.tensor(shift))
        found = objective.loss(model, batch(), Step())
        assert float(found.total.detach()) == pytest.approx(wanted, abs=1e-6)


def test_directions_are_means_over_prompts_and_encoders(gaussian):
    model = gaussian()
    with torch.no_grad():
        model.shift.copy_(torch.tensor([1.0, 0.0]))
    reference = Trained(fl.Flow(gaussian()))
    one = Trained(fl.Flow(Compass()))
    objective = Directional(one, reference, ["left"], ["right", "up"], more=[Trained(fl.Flow(Compass()))])
    # From (-1, 0) to (1/2, 1/2).
    angle = F.cosine_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.5, 0.5]]))
    assert float(objective.loss(model, batch(), Step()).total.detach()) == pytest.approx(
        1 - float(angle), abs=1e-6
    )


def test_the_global_loss_knows_only_where_to(gaussian):
    model, objective = gaussian(), adapted(gaussian, compare="global", steps=3)
    made = objective.generated(objective.field(model), batch().x0, {})
    wanted = (1 - F.cosine_similarity(made, torch.tensor([[1.0, 0.0]], dtype=torch.float64))).mean()
    assert torch.allclose(objective.loss(model, batch(), Step()).total, wanted)


def test_the_generator_is_euler(gaussian):
    model, objective = gaussian(), adapted(gaussian, steps=5)
    z = batch().x0
    flow = fl.Flow(model, objective=objective, solver=fl.solvers.Euler(5))
    assert torch.allclose(objective.generated(objective.field(model), z, {}), flow.solve(x0=z).x)


def test_only_the_copy_learns(gaussian):
    model, objective = gaussian(), adapted(gaussian)
    with torch.no_grad():
        model.shift.add_(0.1)
    objective.loss(model, batch(), Step()).total.backward()
    assert float(model.shift.grad.norm()) > 0
    assert all(p.grad is None for p in objective.parameters())


def test_layers_that_would_move_least_stay():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    x = torch.randn(16, 2)

    def loss(network):
        return network(x).mean()

    partly = moving_most(model, loss, 0.3)  # one layer of three
    loss(partly).backward()
    found = {name for name, p in model.named_parameters() if p.grad is not None}
    # By hand: the shift of a layer's output has the gradient of its output, summed over rows or not.
    slopes = {}
    h0 = model[0](x)
    h2 = model[2](model[1](h0))
    h4 = model[4](model[3](h2))
    for name, out in (("0", h0), ("2", h2), ("4", h4)):
        slopes[name] = float(torch.autograd.grad(h4.mean(), out, retain_graph=True)[0].norm())
    most = max(slopes, key=slopes.__getitem__)
    assert found == {f"{most}.weight", f"{most}.bias"}
    with torch.no_grad():
        assert torch.allclose(partly(x), model(x))


class Images(fl.data.Tensors):
    """Six images of two classes."""

    def __init__(self):
        x = torch.linspace(-1, 1, 6 * 64).reshape(6, 1, 8, 8)
        spec = fl.Spec((1, 8, 8), conditions={"label": fl.Condition(2, names=("0", "1"))})
        super().__init__(x, {"label": torch.arange(6) % 2}, spec=spec)

    def split(self, name):
        return self


def test_images_in_styles_have_captions():
    data = Styled(Images(), styles=["plain", "inverted"])
    rows = data.take(torch.arange(12))
    assert torch.equal(rows.x[6:], -rows.x[:6])
    told = [" ".join(data.words[i] for i in row if i) for row in rows.cond["words"]]
    assert told[:2] == ["a plain digit", "a plain digit 1"]
    assert told[7] == "an inverted digit 1"
    assert data.spec.named("judged") == ("label", "style")
    assert Styled(Images(), told=False).spec.named("inform") == ()
    for style, draw in STYLES.items():
        made = draw(rows.x[:6])
        assert made.shape == (6, 1, 8, 8), style
        assert float(made.abs().max()) <= 1 + 1e-6


def test_unknown_words_and_styles_are_told():
    with pytest.raises(DataError, match="knows no word 'wavy'"):
        tokens_of(["a wavy digit"], Styled(Images()).words)
    with pytest.raises(DataError, match="not 'wavy'"):
        Styled(Images(), styles=["wavy"])
    with pytest.raises(DataError, match="not 'wavy'"):
        Adaptation(Styled(Images()), style="wavy")
    for styles in (["inverted", "bold"], ["inverted"], ["plain"]):
        with pytest.raises(DataError, match="plain and at least one other"):
            Adaptation(Styled(Images(), styles=styles), style=styles[0])


def test_pairs_are_told_apart_and_equal_captions_are_no_wrong_answers():
    torch.manual_seed(0)
    data = Styled(Images(), styles=["plain", "inverted"])
    model, objective = JointEncoder(data.spec, width=4, dim=8), ImageText()
    rows = data.take(torch.arange(12))
    given = Batch(rows.x, rows.x, data.spec.told(rows.cond))
    words = given.cond["words"]
    logits = (model.images(given.x1) @ model.captions(words).T) / 0.07
    same = (words[:, None] == words[None]).all(-1).float()
    log = [
        -(same / same.sum(1, keepdim=True) * one.log_softmax(1)).sum(1).mean() for one in (logits, logits.T)
    ]
    found = objective.loss(model, given, Step())
    assert torch.allclose(found.total, (log[0] + log[1]) / 2, rtol=1e-4)
    assert torch.allclose(model.texts(["a plain digit 1"]), model.captions(words[1:2]), atol=1e-6)


def test_an_encoder_without_texts_is_refused(gaussian):
    other = Trained(fl.Flow(gaussian()))
    with pytest.raises(IncompatibleError, match="joint-encoder"):
        Directional(other, other, ["left"], ["right"])


def test_prompts_that_say_no_way_are_told_before_training(gaussian):
    reference = Trained(fl.Flow(gaussian()))
    same = Directional(Trained(fl.Flow(Compass())), reference, ["left", "up"], ["up", "left"])
    with pytest.raises(IncompatibleError, match=r"\['left', 'up'\] and \['up', 'left'\] are the same"):
        same.turns(fl.Flow(gaussian(), objective=same))
    encoder = fl.Flow(JointEncoder(Styled(Images()).spec, width=2, dim=4), objective=ImageText())
    wavy = Directional(Trained(encoder), reference, ["a plain digit"], ["a wavy digit"])
    with pytest.raises(DataError, match="knows no word 'wavy'"):
        wavy.turns(fl.Flow(gaussian(), objective=wavy))


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path):
    def trainer():
        torch.manual_seed(0)
        data = Styled(Images())
        encoder = Trained(fl.Flow(JointEncoder(data.spec, 4, 8), spec=data.spec, objective=ImageText()))
        spec = fl.Spec((1, 8, 8))
        old = fl.models.MLP(spec, width=8, depth=2)
        model = fl.models.MLP(spec, width=8, depth=2)
        model.load_state_dict(old.state_dict())
        with torch.no_grad():
            model.out.bias.add_(0.1)  # from where the direction is known
        words = (["a plain digit"], ["an inverted digit"])
        objective = Directional(encoder, Trained(fl.Flow(old)), *words, steps=2, freeze=0.4)
        flow = fl.Flow(model, spec, objective=objective, solver=fl.solvers.Euler(2))
        return flow.trainer(PriorOnly([1, 8, 8]), TrainConfig(steps=6, batch=4, ema=0.9, lr=1e-2), seed=0)

    whole, stopped, continued = trainer(), trainer(), trainer()
    list(whole.run())
    list(stopped.run(until=3))
    load_checkpoint(continued, save_checkpoint(stopped, tmp_path))
    list(continued.run())
    first, second = tensors(whole.flow), tensors(continued.flow)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.out.weight"], tensors(trainer().flow)["model.out.weight"])
