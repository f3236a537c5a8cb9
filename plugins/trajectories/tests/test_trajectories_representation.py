"""FlowFM: the encoder sees clean windows and learns through the flow; judges count as they say."""

import tarfile

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.layout import Layout
from flowloom.objectives import Batch, Step
from flowloom.testing import check
from flowloom.trained import Trained
from flowloom_registry import load_recipe
from flowloom_registry.cli import main
from flowloom_registry.config.build import build
from flowloom_trajectories.representation import (
    Activities,
    EncodedClassifier,
    FromConditions,
    Itself,
    LinearProbe,
    PcaEncoder,
    Represented,
    Spectra,
    Wearables,
    read_recordings,
    wearables,
)
from flowloom_trajectories.representation.activities import _turns
from flowloom_trajectories.representation.scores import macro_f1


@pytest.fixture
def data():
    return Activities(n=48, length=24, held=60)


@pytest.fixture
def spec(data):
    return Itself().spec(data.spec)


def small(spec, **options):
    torch.manual_seed(0)
    net = Represented(spec, dim=4, widths=(8, 8), width=8, multipliers=(1, 2), **options)
    torch.nn.init.normal_(net.generator.leave.weight, std=0.1)  # it begins at 0
    return net


def shown(data, rows=6):
    return Itself()(data.take(torch.arange(rows)), torch.Generator())


def test_activity_is_for_judges_alone(data, spec):
    assert spec.named("inform") == ("example",)
    assert spec.conditions["activity"].role == "judged"
    assert Activities(labelled=True).spec.named("inform") == ("activity",)
    assert len(data.split("test")) == 60
    assert data.take(torch.arange(48)).cond["activity"].bincount().tolist() == [8] * 6


def test_what_is_missing_of_an_example_is_not_shown():
    x, seen = torch.full((2, 3, 1), torch.nan), torch.tensor([[True, True, False]] * 2)[..., None]
    x[:, :2] = 1.0
    rows = Examples(x, {"seen": seen}, Layout(real=seen))
    assert Itself()(rows, torch.Generator()).cond["example"][0, :, 0].tolist() == [1, 1, 0]


def test_devices_are_turned_and_not_stretched():
    turn = _turns(torch.randn(5, 3, dtype=torch.float64))
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3, dtype=torch.float64).expand(5, 3, 3))
    assert torch.allclose(torch.linalg.det(turn), torch.ones(5, dtype=torch.float64))


def test_the_loss_is_flow_matching_told_what_is_made_of_the_clean_window(data, spec, draws):
    model, rows = small(spec), shown(data)
    objective = fl.objectives.FlowMatching()
    x0 = torch.randn(rows.x.shape, generator=draws)
    batch = Batch(x0, rows.x, {"example": rows.x})
    found = objective.loss(model, batch, Step(generator=torch.Generator().manual_seed(3))).total
    t = objective.times.sample(6, fl.draw.Draw(torch.Generator().manual_seed(3)))
    x = x0 + t[:, None, None] * (rows.x - x0)
    answer = model.generator(x, t, representation=model.encode(rows.x))
    torch.testing.assert_close(found, (answer - (rows.x - x0)).square().mean())
    wrong = model.generator(x, t, representation=model.encode(x))  # of the noised state
    assert not torch.isclose(found, (wrong - (rows.x - x0)).square().mean())
    found.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.encoder.parameters())


def test_nothing_of_the_window_but_its_representation_reaches_the_generator(data, spec):
    model, rows, t = small(spec), shown(data), torch.full((6,), 0.4)
    x = torch.zeros_like(rows.x)
    with torch.no_grad():
        told = model(x, t, example=rows.x)
        model.encoder.out.weight.zero_()
        assert not torch.allclose(told, model(x, t, example=rows.x))
        torch.testing.assert_close(model(x, t, example=rows.x), model(x, t, example=rows.x.flip(0)))


@pytest.mark.parametrize("null", ["null", "null_example"])
def test_a_withheld_window_is_not_seen(data, spec, null):
    model, rows, t = small(spec), shown(data), torch.full((6,), 0.4)
    off = {null: torch.tensor([True, False] * 3)}
    with torch.no_grad():
        one = model(rows.x, t, example=rows.x, **off)
        other = model(rows.x, t, example=rows.x + 1, **off)
        bare = model(rows.x, t)
    torch.testing.assert_close(one[::2], other[::2])
    torch.testing.assert_close(one[::2], bare[::2])
    assert (one[1::2] - other[1::2]).abs().amax() > 1e-4


def test_a_network_without_an_example_is_told_which_view_shows_one(data):
    with pytest.raises(IncompatibleError, match="add view: itself"):
        Represented(data.spec)


def test_principal_components_have_variance_one_and_keep_the_most(data):
    encoder = PcaEncoder(24 * 3, 5)
    encoder.fit(data)
    x = data.all().x
    found = encoder(x)
    torch.testing.assert_close(found.T @ found / len(x), torch.eye(5), atol=1e-4, rtol=0)
    flat = (x.flatten(1) - x.flatten(1).mean(0)).double()
    best = torch.linalg.svdvals(flat)[:5].square().sum()
    direction = torch.linalg.qr(encoder.axes.double()).Q
    torch.testing.assert_close((flat @ direction).square().sum(), best, rtol=1e-4, atol=0)


def test_from_conditions_is_the_error_of_an_answer_to_nothing(data, spec):
    model, rows = small(spec), shown(data)
    batch = Batch(torch.randn_like(rows.x), rows.x, {"example": rows.x})
    answer = model(torch.zeros_like(rows.x), torch.ones(6), example=rows.x)
    found = FromConditions().loss(model, batch, Step()).total
    torch.testing.assert_close(found, (answer - rows.x).square().mean())


def test_macro_f1_by_hand():
    says, truth = torch.tensor([0, 0, 0, 1, 2]), torch.tensor([0, 0, 1, 1, 1])
    # 0: precision 2/3, recall 1; 1: precision 1, recall 1/3. Class 2 was never asked.
    assert macro_f1(says, truth) == pytest.approx((0.8 + 0.5) / 2)


def test_a_probe_needs_what_tells_classes(data, spec):
    class Known(Represented):
        """Its representation is the activity, or nothing."""

        useful = True

        def encode(self, x):
            rows = torch.cdist(x.flatten(1), held.x.flatten(1)).argmin(1)
            told = torch.nn.functional.one_hot(held.cond["activity"][rows], 6).float()
            return told if self.useful else torch.ones_like(told)

    held = Itself()(data.split("test").all(), torch.Generator())
    model = Known(spec, dim=6, widths=(8,), width=8, multipliers=(1,))
    flow = fl.Flow(model, spec=spec)
    score = LinearProbe(labelled=30, draws=3)
    assert score(flow, held)["probe_f1"] > 0.99
    model.useful = False
    assert score(flow, held)["probe_f1"] < 0.15  # one class of six


def test_spectra_see_rhythm_and_not_phase():
    time = torch.arange(40) / 40

    def waves(pace, phase):
        return torch.sin(2 * torch.pi * (pace[:, None] * time + phase))[..., None]

    label, pace, metric = torch.tensor([0, 0, 1, 1]), torch.tensor([3.0, 3.0, 7.0, 7.0]), Spectra("kind")
    real = Examples(waves(pace, 0.0), {"kind": label})
    assert metric(Examples(waves(pace, 0.3)), real)["spectrum_distance"] < 1e-6
    assert metric(Examples(waves(pace.flip(0), 0.0)), real)["spectrum_distance"] == pytest.approx(2**0.5)
    assert metric(Examples(2 * waves(pace, 0.0)), real)["spectrum_distance"] == pytest.approx(1.0)


def test_a_classifier_takes_the_encoder_of_a_run(data, spec):
    labelled = Activities(n=12, length=24, labelled=True).spec
    model = small(spec)
    run = Trained(fl.Flow(model, spec=spec))
    tuned = EncodedClassifier(labelled, pretrained=run)
    x = data.take(torch.arange(4)).x
    torch.testing.assert_close(tuned.features(x, torch.ones(4)), model.encode(x))
    assert all(p.requires_grad for p in tuned.encoder.parameters())
    assert tuned.encoder is not model.encoder  # the run's own stays as it is
    probe = EncodedClassifier(labelled, pretrained=run, frozen=True)
    assert [name for name, p in probe.named_parameters() if p.requires_grad] == ["out.weight", "out.bias"]
    with pytest.raises(IncompatibleError, match="pretrained is a run of model: represented"):
        EncodedClassifier(labelled, pretrained=Trained(fl.Flow(fl.models.MLP(data.spec, width=8))))


def lines(subjects=4, steps=60, end=";"):
    for who in range(subjects):
        for k in range(steps):
            what = "Walking" if k < steps // 2 else "Sitting"
            yield f"{who},{what},{1000 * who * steps + 50 * k},{k}.5,{who},-1.0{end}"


def test_recordings_are_split_by_subject(tmp_path):
    file = tmp_path / "r.txt"
    file.write_text("\n".join(lines()))
    found = read_recordings(file)
    assert [(one.subject, one.activity, len(one.values)) for one in found[:2]] == [
        ("0", "Walking", 30),
        ("0", "Sitting", 30),
    ]
    data = Wearables([file], length=10, stride=10)
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [12, 6, 6]
    assert data.spec.conditions["activity"].names == ("Sitting", "Walking")
    x = data.all().x
    assert x.shape[1:] == (10, 3)
    torch.testing.assert_close(x.flatten(0, 1).mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    assert all(result.ok for result in check(lambda: Wearables([file], length=10, stride=10), "dataset"))


def test_wisdm_is_taken_out_of_its_archive(tmp_path, monkeypatch):
    name = "WISDM_ar_v1.1_raw.txt"
    (tmp_path / name).write_text("\n".join(lines()))
    with tarfile.open(tmp_path / "w.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / name, f"WISDM_ar_v1.1/{name}")
    (tmp_path / name).unlink()
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(wearables, "_HOME", (tmp_path / "w.tar.gz").as_uri())
    assert len(Wearables([name], length=10, stride=10)) == 12
    assert (tmp_path / "data" / "wearables" / name).is_file()


def test_order_separators_and_header_do_not_matter_and_gaps_cut(tmp_path):
    file, text = tmp_path / "r.txt", list(lines(1, end=""))
    file.write_text("user,activity,timestamp,x,y,z\n" + "\n".join(text[:12] + text[14:])[::1])
    assert [len(one.values) for one in read_recordings(file)] == [12, 16, 30]
    tabs = tmp_path / "t.txt"
    tabs.write_text("\n".join(line.replace(",", "\t") for line in reversed(text)))
    assert [one.values[0, 0].item() for one in read_recordings(tabs)] == [0.5, 30.5]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,Walking,50,1,2;", "5 values; a line holds"),
        ("1,Walking,50,1,2,;", "5 values; a line holds"),
        ("1,Walking,50,1,two,3", "y is 'two'; it takes a number"),
        ("1,Walking,50,nan,2,3", "x is 'nan'"),
        ("1,7,50,1,2,3", "activity is '7'; it takes a word"),
        ("0,Walking,50,1,2,3", "subject 0 stands at time 50 twice, first in line 2"),
    ],
)
def test_damaged_lines_are_told_or_left_out(tmp_path, line, said):
    file = tmp_path / "bad.txt"
    file.write_text("\n".join([*lines(1, 4), line]))
    with pytest.raises(DataError) as told:
        read_recordings(file)
    assert f"{file}:5: {said}" in str(told.value)
    assert sum(len(one.values) for one in read_recordings(file, "skip")) == 4


def test_windows_longer_than_the_recordings_are_told(tmp_path):
    file = tmp_path / "r.txt"
    file.write_text("\n".join(lines()))
    with pytest.raises(DataError, match="has 31 steps without a gap; the longest has 30"):
        len(Wearables([file], length=31))
    file.write_text("\n".join(lines(2)))
    with pytest.raises(DataError, match="at least 3; there are: 0, 1"):
        len(Wearables([file], length=10))


@pytest.mark.slow
def test_few_labels_run_through(tmp_path):
    changes = ("stages.pretrained.train.steps=2", "stages.tuned.train.steps=2", "evaluate.n=12", "sample.n=4")
    words = [word for s in changes for word in ("--set", s)]
    assert main(["run", "flowfm-few-labels", *words, "--out", str(tmp_path / "r")]) == 0


@pytest.mark.parametrize("name", ["flowfm-autoencoder", "flowfm-pca", "flowfm-diffusion"])
def test_what_it_is_compared_with_has_the_same_networks(name):
    own, other = (build(load_recipe(one))["model"] for one in ("flowfm", name))
    assert [p.shape for p in own.generator.parameters()] == [p.shape for p in other.generator.parameters()]
    assert own.dim == other.dim


def test_the_full_size_builds_without_memory():
    with torch.device("meta"):
        model = build(load_recipe("flowfm-full", overrides=["data={use: activities, length: 300}"]))["model"]
    assert sum(p.numel() for p in model.parameters()) > 5e7
    x, t = torch.empty(2, 300, 3, device="meta"), torch.empty(2, device="meta")
    assert model(x, t, example=x).shape == (2, 300, 3)
    assert model.encode(x).shape == (2, 128)
