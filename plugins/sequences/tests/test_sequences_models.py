"""Backbones: shapes, padding, simplex points, time, conditions, sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowloom.errors import IncompatibleError, ShapeError
from flowloom.libraries import transformers
from flowloom.spec import Condition, Spec
from flowloom_sequences.models import (
    DilatedCNN,
    HuggingFaceEncoder,
    SequenceClassifier,
    SequenceTransformer,
)

L, V = 12, 5
COND = {
    "label": Condition(3),
    "mask": Condition(shape=(L,), role="real"),
    "prompt_mask": Condition(shape=(L,), role="given"),
}
TOKENS = Spec((L,), vocab=V, conditions=COND)
ROWS = Spec((L, V), conditions=COND)
BERT = {
    "model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16,
}  # fmt: skip
BUILD = {
    "transformer": lambda spec: SequenceTransformer(spec, width=16, depth=2, heads=2, see_prompt=True),
    "tied": lambda spec: SequenceTransformer(spec, width=16, depth=1, heads=2, tie=True),
    "local": lambda spec: SequenceTransformer(spec, width=16, depth=2, heads=2, local=3),
    "cnn": lambda spec: DilatedCNN(spec, width=8, stacks=1),
    "bert": lambda spec: HuggingFaceEncoder(spec, BERT),
    "esm": lambda spec: HuggingFaceEncoder(
        spec, {**BERT, "model_type": "esm", "position_embedding_type": "rotary", "pad_token_id": 1}
    ),
}


def lively(model: nn.Module) -> nn.Module:
    """Random weights everywhere, so that gates which start at zero hide nothing."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=g))
    return model.eval()


@pytest.mark.parametrize("name", BUILD)
def test_tokens_and_vertices_are_the_same_input(name):
    torch.manual_seed(0)
    model = lively(BUILD[name](TOKENS))
    x, t = torch.randint(V, (3, L)), torch.rand(3)
    logits = model(x, t)
    assert logits.shape == (3, L, V)
    near = 1e-5 * float(logits.abs().max()) + 1e-4  # sums in another order
    vertices = nn.functional.one_hot(x, V).float()
    assert torch.allclose(model(vertices, t), logits, atol=near)
    again = lively(BUILD[name](ROWS))
    assert torch.allclose(again(vertices, t), logits, atol=near)
    masked = x.masked_fill(torch.rand(3, L) < 0.5, V)
    assert model(masked, t).isfinite().all()
    # The time matters, and may differ by token.
    assert not torch.allclose(model(x, t / 2), logits, atol=near)
    assert torch.allclose(model(x, t[:, None].expand(3, L)), logits, atol=near)


@pytest.mark.parametrize("name", BUILD)
def test_padding_is_not_seen(name):
    torch.manual_seed(0)
    model = lively(BUILD[name](TOKENS))
    x, t = torch.randint(V, (2, L)), torch.rand(2)
    mask = torch.arange(L) < torch.tensor([[7], [L]])
    other = torch.where(mask, x, (x + 1) % V)
    a, b = model(x, t, mask=mask), model(other, t, mask=mask)
    assert torch.allclose(a[mask], b[mask], atol=1e-5)
    changed = x.clone()
    changed[0, 6] = (x[0, 6] + 1) % V
    assert not torch.allclose(model(changed, t, mask=mask)[0, :6], a[0, :6], atol=1e-5)
    alone = model(x, t, mask=torch.zeros(2, L, dtype=torch.bool))
    assert alone.isfinite().all()


@pytest.mark.parametrize("name", BUILD)
def test_conditions_and_their_absence(name):
    model = lively(BUILD[name](TOKENS))
    assert model.conditional
    x, t = torch.randint(V, (3, L)), torch.rand(3)
    null = torch.ones(3, dtype=torch.bool)
    one, two = (model(x, t, label=torch.full((3,), k)) for k in (0, 1))
    assert not torch.allclose(one, two, atol=1e-4)
    hidden = [model(x, t, label=torch.full((3,), k), null=null) for k in (0, 1)]
    assert torch.allclose(*hidden)
    assert torch.allclose(hidden[0], model(x, t), atol=1e-5)


@pytest.mark.parametrize("name", ["transformer", "cnn"])
def test_gradients_reach_every_weight_and_jvp_works(name):
    model = lively(BUILD[name](ROWS))
    x, t = torch.rand(2, L, V), torch.rand(2)
    cond = {
        "label": torch.tensor([0, 1]),
        "null": torch.tensor([False, True]),
        "prompt_mask": torch.rand(2, L) < 0.5,
    }
    model(x, t, **cond).square().sum().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []
    # In double precision steps are short enough to meet no kink of the activations.
    model, x, t = model.double(), x.double(), t.double()
    _, slope = torch.func.jvp(lambda z: model(z, t), (x,), (torch.ones_like(x),))
    h = 1e-6
    difference = (model(x + h, t) - model(x - h, t)) / (2 * h)
    assert torch.allclose(slope, difference, atol=1e-5 * float(slope.detach().abs().max()))


def test_positions_are_relative_and_order_matters():
    spec = Spec((L,), vocab=V, conditions={"mask": COND["mask"]})
    model = lively(SequenceTransformer(spec, width=16, depth=2, heads=2))
    x, t = torch.randint(V, (1, 6)), torch.rand(1)
    padded = torch.cat([x, x], 1)
    early, late = torch.arange(L)[None] < 6, torch.arange(L)[None] >= 6
    a, b = model(padded, t, mask=early)[:, :6], model(padded, t, mask=late)[:, 6:]
    assert torch.allclose(a, b, atol=1e-4)
    assert not torch.allclose(model(x.flip(1), t).flip(1), model(x, t), atol=1e-3)


def test_bad_input():
    model = SequenceTransformer(TOKENS, width=16, depth=1, heads=2)
    with pytest.raises(ShapeError, match="14 tokens is longer than the 12"):
        model(torch.zeros(1, 14, dtype=torch.long), torch.rand(1))
    with pytest.raises(ShapeError, match=r"token id 7 is out of range; .* ids 0 to 4 and the mask 5"):
        model(torch.full((1, L), 7), torch.rand(1))
    with pytest.raises(ShapeError, match="rows of 4 entries for a vocabulary of 5"):
        model(torch.rand(1, L, 4), torch.rand(1))
    with pytest.raises(IncompatibleError, match="token sequences"):
        DilatedCNN(Spec((3, 8, 8)))
    with pytest.raises(IncompatibleError, match="even size"):
        SequenceTransformer(TOKENS, width=10, heads=3)
    with pytest.raises(IncompatibleError, match="either config"):
        HuggingFaceEncoder(TOKENS)
    with pytest.raises(IncompatibleError, match="model_type"):
        HuggingFaceEncoder(TOKENS, {"hidden_size": 8})
    with pytest.raises(IncompatibleError, match="reads 4 positions"):
        HuggingFaceEncoder(TOKENS, {**BERT, "max_position_embeddings": 4})


def test_pretrained_folder(tmp_path):
    library = transformers()
    config = library.AutoConfig.for_model(vocab_size=9, **BERT)
    library.AutoModel.from_config(config).save_pretrained(tmp_path)
    model = HuggingFaceEncoder(TOKENS, pretrained=str(tmp_path))
    saved = library.AutoModel.from_pretrained(tmp_path).get_input_embeddings().weight
    assert torch.equal(model.embed.table.weight[:V], saved[:V])
    (tmp_path / "none").mkdir()
    with pytest.raises(IncompatibleError, match="cannot load encoder"):
        HuggingFaceEncoder(TOKENS, pretrained=str(tmp_path / "none"))


def test_paper_scales_on_the_meta_device():
    with torch.device("meta"):
        text = SequenceTransformer(Spec((1024,), vocab=50257), size="small")
        dna = DilatedCNN(Spec((500, 4), conditions={"label": Condition(47)}))
    body = sum(p.numel() for p in text.blocks.parameters())
    # Twelve blocks of 12 width^2 weights, and 6 width^2 more for adaptive norms: the "150M" class.
    assert 110e6 < body < 140e6
    convolutions = sum(p.numel() for p in dna.convolutions.parameters())
    assert len(dna.convolutions) == 20
    assert convolutions == 20 * (128 * 128 * 9 + 128)


def test_classifier_reads_points_of_the_path():
    model = SequenceClassifier(ROWS, width=8)
    assert model(torch.rand(2, L, V), torch.rand(2)).shape == (2, 3)
    with pytest.raises(IncompatibleError, match="no classes"):
        SequenceClassifier(Spec((L, V)))
