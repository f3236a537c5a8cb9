"""PepFlow: its losses by hand, its network's symmetries, its steps, and parts that stay as they are given."""

import math

import pytest
import torch
from torch.nn import functional as F

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.geometry import FlatTorus
from flowloom.layout import Layout
from flowloom.objectives import Batch, Step
from flowloom.paths import AffinePath, GeodesicPath, ProductPath
from flowloom.sources import Gaussian, Product, Uniform
from flowloom.testing import check
from flowloom_molecules.aligned import Aligned
from flowloom_molecules.peptides.atoms import backbone
from flowloom_molecules.peptides.attention import FrameUpdate
from flowloom_molecules.peptides.chart import LogitPath, PeptideChart, corners
from flowloom_molecules.peptides.form import PARTS, POCKET, peptide_spec
from flowloom_molecules.peptides.generated import GeneratedPeptides
from flowloom_molecules.peptides.network import PeptideNet
from flowloom_molecules.peptides.objective import KIND, PepFlow
from flowloom_molecules.peptides.partial import PartialSampling
from flowloom_molecules.peptides.pdb import pdb_text, sequence
from flowloom_molecules.peptides.quality import PeptideQuality
from flowloom_molecules.peptides.recovery import PeptideRecovery
from flowloom_molecules.peptides.residues import has_torsion
from flowloom_molecules.peptides.sampler import PeptideEuler
from flowloom_molecules.peptides.separate import SeparateNets

so3 = pytest.importorskip("flowloom_geometries.spaces.so3")
SMALL = {"width": 16, "pair": 8, "depth": 2, "heads": 2, "hidden": 4, "points": 2, "values": 2, "tokens": 2}
SPACE = so3.SO3()


def path():
    return ProductPath(
        {
            "pos": AffinePath(),
            "rot": GeodesicPath(SPACE),
            "angles": GeodesicPath(FlatTorus()),
            "types": LogitPath(),
        }
    )


@pytest.fixture(scope="module")
def data():
    return GeneratedPeptides(24, shortest=4, longest=6, pocket=3)


def flow_of(data, network=PeptideNet, steps=6):
    torch.manual_seed(0)
    way, codec = path(), PeptideChart(data.spec)
    source = Product(
        {
            "pos": Gaussian(),
            "rot": Uniform(SPACE),
            "angles": Uniform(FlatTorus()),
            "types": Gaussian(std=5.0),
        }
    )
    flow = fl.Flow(
        network(codec.spec, **SMALL),
        geometry=way.geometry,
        source=source,
        coupling=Aligned(way.geometry, of="pos"),
        path=way,
        objective=PepFlow(way),
        solver=PeptideEuler(steps),
        codec=codec,
    )
    with torch.no_grad():  # what begins at zero would not move frames at all
        for p in flow.model.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return flow


def batch_of(flow, data, n=6):
    rows = flow.encode(data.take(torch.arange(n)))
    x0 = flow.noise_for(rows, torch.Generator().manual_seed(1))
    return Batch(x0, rows.x, rows.cond, Layout.of(flow.spec, rows.cond))


class Answers(torch.nn.Module):
    """The same answer whatever is asked, and what was asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = torch.nn.ParameterDict(answer)

    def forward(self, x, t, /, **cond):
        self.x, self.t = x, t
        return dict(self.answer.items())


def random_answer(like, seed=2):
    draws = torch.Generator().manual_seed(seed)
    n, length = like["pos"].shape[:2]
    return {
        "pos": torch.randn(n, length, 3, generator=draws),
        "rot": so3.rotation(torch.randn(n, length, 3, generator=draws)),
        "angles": torch.rand(n, length, 5, generator=draws) * 6.28,
        "types": torch.randn(n, length, 20, generator=draws),
    }


def test_the_losses_are_those_of_the_paper_residue_by_residue(data):
    """Written out in loops with rotation vectors and sines, on rows of different length."""
    flow = flow_of(data)
    batch, objective = batch_of(flow, data), PepFlow(flow.path, torsions_of="true")
    network = Answers(random_answer(batch.x1))
    loss = objective.loss(network, batch, Step(generator=torch.Generator().manual_seed(3)))
    t, x1, y = network.t, batch.x1, network.answer
    assert float(t.min()) >= 0.1
    assert float(t.max()) <= 0.9
    x_t = flow.path.sample(batch.x0, x1, t).x_t
    sums = dict.fromkeys(loss.parts, 0.0)
    for i in range(6):
        n, speed = int(batch.cond["residues"][i].sum()), 1 / (1 - t[i])
        rows = dict.fromkeys(loss.parts, 0.0)
        turns = 0
        for r in range(n):
            one = {k: v[i, r] for k, v in y.items()}
            true = {k: v[i, r] for k, v in x1.items()}
            rows["pos"] += (one["pos"] - true["pos"]).square().sum() / n
            ways = [so3.rotation_vector(x_t["rot"][i, r], end) for end in (one["rot"], true["rot"])]
            # Tangents at one point: lengths of rotation vectors there.
            rows["rot"] += ((ways[0] - ways[1]) * speed).square().sum() / n
            atoms = [backbone(z["pos"], z["rot"]) for z in (one, true)]
            rows["atoms"] += (atoms[0] - atoms[1]).square().sum() / n
            kind = true["types"].argmax()
            rows["types"] += F.cross_entropy(one["types"][None], kind[None]) / n
            for k in range(int(has_torsion(kind).sum())):
                a, b, c = one["angles"][k], true["angles"][k], x_t["angles"][i, r, k]
                for wave in (torch.sin, torch.cos):
                    rows["angles"] += 0.5 * ((wave(a - c) - wave(b - c)) * speed).square()
                    rows["torsions"] += 0.5 * (wave(a) - wave(b)).square()
                turns += 1
        for name in ("angles", "torsions"):
            rows[name] = rows[name] / turns
        sums = {k: sums[k] + rows[k] / 6 for k in sums}
    for name, value in loss.parts.items():
        assert float(value) == pytest.approx(float(sums[name].detach()), rel=1e-3), name
    weights = {"pos": 0.5, "rot": 0.5, "atoms": 0.25, "types": 1.0, "angles": 1.0, "torsions": 0.5}
    assert float(loss.total.detach()) == pytest.approx(
        sum(w * float(sums[k].detach()) for k, w in weights.items()), rel=1e-3
    )


def test_a_network_that_knows_the_peptide_has_no_loss(data):
    flow = flow_of(data)
    batch = batch_of(flow, data)
    network = Answers({**batch.x1, "types": 10 * batch.x1["types"]})
    loss = flow.objective.loss(network, batch, Step(generator=torch.Generator().manual_seed(3)))
    assert float(loss.total.detach()) < 1e-6


def test_padding_and_held_parts_cost_nothing_and_are_seen_clean(data):
    flow = flow_of(data)
    batch = batch_of(flow, data)
    real = batch.cond["residues"]
    held = Layout(batch.layout.real, {"pos": real, "rot": real, "types": real})
    batch = Batch(batch.x0, batch.x1, batch.cond, held)

    def loss_of(spoil):
        answer = random_answer(batch.x1)
        for part in PARTS:
            wide = real.reshape(*real.shape, *(1,) * (answer[part].ndim - 2))
            free = wide if part == "angles" else torch.zeros_like(wide)
            answer[part] = torch.where(free, answer[part], spoil * answer[part])
        network = Answers(answer)
        loss = flow.objective.loss(network, batch, Step(generator=torch.Generator().manual_seed(3)))
        loss.total.backward()
        return loss, network

    first, network = loss_of(1.0)
    second, spoiled = loss_of(math.nan)
    assert float(first.total.detach()) == pytest.approx(float(second.total.detach()), rel=1e-6)
    assert {k for k, v in first.parts.items() if float(v) > 1e-6} == {"angles", "torsions"}
    assert all(bool(p.grad.isfinite().all()) for p in spoiled.answer.values() if p.grad is not None)
    for part in ("pos", "rot", "types"):
        assert torch.equal(network.x[part][real], batch.x1[part][real])


def test_the_network_sees_drawn_types_and_torsions_of_predicted_types_count(data):
    flow = flow_of(data)
    batch = batch_of(flow, data)
    network = Answers({**random_answer(batch.x1), "types": 50 * corners(torch.full((6, 6), 7), 1.0)})
    draws = Step(generator=torch.Generator().manual_seed(3))
    flow.objective.loss(network, batch, draws)
    assert torch.equal(network.x["types"].abs(), torch.full((6, 6, 20), 5.0))
    with_glycine = {}
    for which in ("predicted", "true"):
        loss = PepFlow(flow.path, torsions_of=which).loss(network, batch, draws)
        loss.total.backward()
        grad = network.answer["angles"].grad
        with_glycine[which] = grad[..., 1:].abs().sum()
        network.zero_grad()
    assert float(with_glycine["predicted"]) == 0  # glycine has psi alone
    assert float(with_glycine["true"]) > 0
    PepFlow(flow.path, draw=False).loss(network, batch, draws)
    assert bool((network.x["types"].abs() != 5).any())


def test_frames_turn_by_the_quaternion_and_shift_in_their_own_axes(draws):
    update = FrameUpdate(4).double()
    with torch.no_grad():
        update.out.weight.normal_(generator=draws)
    single, pos = (torch.randn(2, 3, k, generator=draws, dtype=torch.float64) for k in (4, 3))
    rot = so3.rotation(torch.randn(2, 3, 3, generator=draws, dtype=torch.float64))
    turn, shift = update.out(single).split(3, -1)
    q = torch.cat([torch.ones_like(turn[..., :1]), turn], -1)
    moved = update(single, pos, rot)
    assert torch.allclose(moved[1], rot @ so3.from_quaternion(q / q.norm(dim=-1, keepdim=True)))
    assert torch.allclose(moved[0], pos + torch.einsum("bnij,bnj->bni", rot, shift))


@pytest.mark.slow
@pytest.mark.parametrize("network", [PeptideNet, SeparateNets])
@pytest.mark.parametrize("pocket", [0, 3])
def test_laws_of_networks(network, pocket):
    spec = PeptideChart(peptide_spec(5, pocket)).spec
    results = check(lambda: network(spec, **SMALL), "model")
    assert {r.name: r.message for r in results if not r.ok} == {}
    done = {r.name for r in results if r.status == "passed"}
    assert {"check_rotations", "check_translations", "check_periods", "check_layout"} <= done


class Northern(PeptideNet):
    """Sees the first axis of space in the frames that it is given."""

    def forward(self, x, t, /, **cond):
        out = super().forward(x, t, **cond)
        return {**out, "types": out["types"] + x["rot"][..., :1, 0]}


def asked(data, network, n=4):
    spec = PeptideChart(data.spec).spec
    torch.manual_seed(0)
    net = network(spec, **SMALL).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn(p.shape).double())
    rows = PeptideChart(data.spec).encode(data.take(torch.arange(n)))
    double = {k: v.double() if v.is_floating_point() else v for k, v in rows.cond.items()}
    return net, {k: v.double() for k, v in rows.x.items()}, torch.linspace(0.1, 0.9, n).double(), double


def turned_apart(data, network):
    """How far the answer to a moved question is from the moved answer."""
    net, x, t, cond = asked(data, network)
    before, off = net(x, t, **cond), 0.0
    for one in net.symmetries:
        moved = one.moved(x, cond, net.spec, torch.Generator().manual_seed(5))
        after, wanted = net(moved.x, t, **moved.cond), moved.answer(before)
        off = max(off, *(float((after[k] - wanted[k]).abs().max()) for k in PARTS))
    return off


def test_rigid_motions_of_peptide_and_pocket_move_the_answer_alike(data):
    assert turned_apart(data, PeptideNet) < 1e-9
    assert turned_apart(data, Northern) > 1e-2
    net, x, t, cond = asked(data, PeptideNet)
    other = {**cond, "pocket_pos": cond["pocket_pos"] + 3.0}
    assert float((net(x, t, **other)["pos"] - net(x, t, **cond)["pos"]).abs().max()) > 1e-3
    # Withheld with everything, or by any of its own names, as guidance over some conditions does.
    for name in ("null", "null_pocket_pos", "null_pocket_types"):
        hidden = [net(x, t, **c, **{name: torch.ones(4, dtype=torch.bool)})["pos"] for c in (cond, other)]
        assert torch.equal(*hidden), name


def test_separate_networks_never_meet(data):
    net, x, t, cond = asked(data, SeparateNets)
    before = net(x, t, **cond)
    for part, follows in {"pos": {"pos", "rot"}, "angles": {"angles"}, "types": {"types"}}.items():
        after = net({**x, part: x[part] + torch.randn_like(x[part])}, t, **cond)
        assert {k for k in PARTS if float((after[k] - before[k]).abs().max()) > 1e-9} == follows


def test_logits_end_on_corners_and_posteriors_are_read_as_the_data(draws):
    way = LogitPath(5.0)
    logits, x = 3 * torch.randn(2, 4, 20, generator=draws), torch.randn(2, 4, 20, generator=draws)
    p = logits.softmax(-1)
    mean = sum(p[..., k : k + 1] * corners(torch.full((2, 4), k), 5.0) for k in range(20))
    t = torch.tensor([0.2, 0.6])
    assert torch.allclose(way.convert(logits, x, t, "posterior", "data"), mean, atol=1e-5)
    wanted = (mean - x) / (1 - t)[:, None, None]
    assert torch.allclose(way.convert(logits, x, t, "posterior", "velocity"), wanted, atol=1e-4)
    assert float(corners(torch.tensor([3]), 5.0).softmax(-1)[0, 3]) > 0.999


def test_steps_are_those_of_the_authors_code(data):
    """Beside a loop with its own formulas: a network that answers always the same."""
    flow = flow_of(data, steps=4)
    batch = batch_of(flow, data)
    answer = random_answer(batch.x1)
    answer["types"] = corners(torch.full((6, 6), 11), 50.0)  # lysine, of whose torsions all exist
    flow.model = Answers(answer)
    keep, states = 6, []

    def look(x, t):
        states.append({k: v.clone() for k, v in x.items()})

    x0 = {**batch.x0, "types": corners(torch.full((6, 6), 11), 20.0)}
    solved = flow.solver.solve(flow.field(), x0, cond=batch.cond, keep=keep, on_step=look)
    x, dt = dict(x0), 0.99 / 4
    for state in states[:-1]:
        vector = so3.rotation_vector(x["rot"], answer["rot"])
        way = (answer["angles"] - x["angles"] + math.pi).remainder(2 * math.pi) - math.pi
        x = {
            "pos": x["pos"] + dt * (answer["pos"] - x0["pos"]),
            "rot": x["rot"] @ so3.rotation(min(1.0, 10 * dt) * vector),
            "angles": (x["angles"] + dt * way).remainder(2 * math.pi),
            "types": x["types"] + dt * (corners(torch.full((6, 6), 11), 5.0) - x0["types"]),
        }
        for part in PARTS:
            assert torch.allclose(state[part], x[part], atol=1e-4), part
    assert len(states) == 5
    assert solved.nfe == 5
    for part in ("pos", "rot", "angles"):  # what is returned is the last prediction
        assert torch.allclose(solved.x[part], answer[part], atol=1e-6)
    assert torch.equal(solved.x["types"], corners(torch.full((6, 6), 11), 5.0))


def test_given_types_keep_their_torsions_whatever_the_network_says_of_types(data):
    """Arginine is given where the network says alanine, which has no chi: its chis are not zeroed."""
    flow = flow_of(data, steps=3)
    known = GeneratedPeptides(40, shortest=6, longest=6, pocket=0).take(torch.arange(40))
    x = {**known.x, "types": torch.full((40, 6), 1)}
    answer = {**known.x, "angles": torch.ones(40, 6, 5), "types": corners(torch.zeros(40, 6).long(), 50.0)}
    flow.model = Answers(answer)
    held = {"types": corners(x["types"], 5.0)}
    given = {"types": torch.ones(40, 6, dtype=torch.bool)}
    x0 = {**x, "types": torch.randn(40, 6, 20)}
    layout = Layout(None, given, {**x, **held})
    seen = []
    solved = flow.solver.solve(
        flow.field(), x0, layout=layout, on_step=lambda x, t: seen.append(x["angles"][..., 1:])
    )
    assert torch.equal(solved.x["types"], held["types"])
    assert torch.equal(solved.x["angles"], answer["angles"])
    assert all(bool((angles != 0).all()) for angles in seen)  # a draw from the corner would miss in 1 of 1000
    # What is given is shown as it is, many times over; types between the corners are drawn.
    many = {**x, "types": held["types"].repeat(50, 1, 1)}
    assert torch.equal(flow.objective.shown(many, torch.Generator())["types"], many["types"])
    loose = {**x, "types": 0.1 * held["types"]}
    assert not torch.equal(flow.objective.shown(loose, torch.Generator())["types"], held["types"])


def test_frames_keep_their_digits_where_the_network_has_half_of_them(data):
    """Under autocast rotations stay rotations, and a network that knows the peptide has no loss."""
    flow = flow_of(data)
    batch = batch_of(flow, data)
    truth = {**batch.x1, "types": 10 * batch.x1["types"]}
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        answer = flow.model({**batch.x0}, torch.full((len(batch.x1["pos"]),), 0.5), **batch.cond)
        loss = flow.objective.loss(Answers(truth), batch, Step(generator=torch.Generator().manual_seed(0)))
        flow.objective.loss(flow.model, batch, Step(generator=torch.Generator().manual_seed(0)))
    rot = answer["rot"]
    assert rot.dtype == torch.float32
    real = batch.cond["residues"]
    assert float((rot.mT @ rot - torch.eye(3))[real].abs().max()) < 1e-5
    assert float(loss.total) < 1e-6


def test_a_part_that_is_none_is_said_from_the_command_line_too(data):
    with pytest.raises(IncompatibleError, match=r"parts pos, rot, angles, types, not all; got typs"):
        PartialSampling(["typs"]).read("0", data, 1)


def test_corners_of_the_codec_and_of_the_path_are_the_same(data):
    objective = PepFlow(path())
    (clash,) = objective.clashes({"codec": PeptideChart(data.spec, scale=3.0), "path": objective.path})
    assert "plus and minus 3" in clash.message
    assert not list(objective.clashes({"codec": PeptideChart(data.spec), "path": objective.path}))


def test_held_parts_stay_bit_by_bit_and_the_others_follow_the_seed(data, tmp_path):
    flow = flow_of(data)
    task = PartialSampling(["pos", "rot", "types"], metrics=[PeptideRecovery(data.spec)])
    question, truth = task.pose(data, 5, torch.Generator().manual_seed(0))
    assert float(question.x["angles"].abs().max()) == 0
    one, again, other = (task(flow, question, seed=s) for s in (1, 1, 2))
    real = truth.cond["residues"]
    for part in ("pos", "rot", "types"):
        assert torch.equal(one.x[part][real], truth.x[part][real])
    assert torch.equal(one.x["angles"], again.x["angles"])
    assert not torch.equal(one.x["angles"], other.x["angles"])
    absent = ~has_torsion(one.x["types"])
    assert float(one.x["angles"][absent].abs().max()) == 0
    judged = task.metrics[0](one, truth)
    assert set(judged) == {"chi_error", "chi_within_20"}  # nobody is praised for what was given
    files = task.write(one, data, tmp_path / "packed.pdb")
    assert [file.name for file in files] == ["packed.pdb", *(f"packed-{i}.pdb" for i in range(2, 6))]
    assert task.show(one, data)[1] == sequence(truth, 1)
    with pytest.raises(IncompatibleError, match=r"writes no \.xyz files; .*\.pdb"):
        task.write(one, data, tmp_path / "packed.xyz")
    everything, whole = PartialSampling().pose(data, 5, torch.Generator().manual_seed(0))
    drawn = PartialSampling()(flow, everything, seed=1)
    assert "recovery" in PeptideRecovery(data.spec)(drawn, whole)
    assert float((drawn.x["pos"] - whole.x["pos"]).abs().max()) > 0.1
    with pytest.raises(IncompatibleError, match="not all"):
        PartialSampling(list(PARTS)).pose(data, 5, torch.Generator())
    with pytest.raises(IncompatibleError, match=r"some of the parts pos, rot, angles, types.*got pos, rots"):
        PartialSampling(["pos", "rots"]).read("1", data, 1)


def test_metrics_know_right_from_wrong(data):
    rows = GeneratedPeptides(200, seed=1).take(torch.arange(200))
    others = GeneratedPeptides(200, seed=2).take(torch.arange(200))
    rows, others = (r.laid_out(GeneratedPeptides(4).spec) for r in (rows, others))
    spec = GeneratedPeptides(4).spec
    quality = PeptideQuality(spec)
    quality.fit(GeneratedPeptides(700))
    good = quality(others, rows)
    assert good["bonds"] == 1
    assert good["facing"] > 0.95
    assert good["outliers"] < 0.03
    assert good["rotamers"] < 0.05
    x = others.x
    wrong = {
        "bonds": {**x, "pos": 1.3 * x["pos"]},
        "rotamers": {**x, "angles": (x["angles"] + 1.0).remainder(6.28)},
        "outliers": {**x, "types": x["types"].roll(1, 0)},
        "facing": {**x, "types": x["types"].roll(1, 0)},
        "ramachandran": {**x, "rot": x["rot"].roll(1, 1)},
    }
    for name, state in wrong.items():
        bad = quality(fl.data.Examples(state, others.cond, others.layout), rows)
        assert abs(bad[name] - good[name]) > 0.1, name
    turned = so3.rotation(torch.tensor([0.3, 1.0, 0.2]))
    moved = {**rows.x, "pos": rows.x["pos"] @ turned.mT + 2.0, "rot": turned @ rows.x["rot"]}
    found = PeptideRecovery(spec)(fl.data.Examples(moved, rows.cond), rows)
    assert found["rmsd"] < 1e-4
    assert found["rmsd_in_place"] > 2
    assert found["recovery"] == 1
    assert found["chi_error"] == 0
    assert found["frame_error"] == pytest.approx(math.degrees(math.sqrt(1.13)), abs=0.05)
    # A ring turned by half a turn is the same ring, and a chi beyond the seam is near.
    kinds = torch.full_like(rows.x["types"], 13)
    angles = torch.full_like(rows.x["angles"], 0.05)
    half = angles.clone()
    half[..., 2] += math.pi
    half[..., 1] = 2 * math.pi - 0.05
    same, ring = ({**rows.x, "types": kinds, "angles": a} for a in (angles, half))
    found = PeptideRecovery(spec)(
        fl.data.Examples(ring, rows.cond), fl.data.Examples(same, rows.cond, rows.layout)
    )
    assert found["chi_error"] == pytest.approx(math.degrees(0.1) / 2, abs=1e-2)


def test_what_does_not_fit_is_refused_in_one_line(data):
    with pytest.raises(IncompatibleError, match="simplex-logits"):
        PepFlow(ProductPath({k: AffinePath() for k in PARTS}))
    with pytest.raises(IncompatibleError, match="give codec: peptide-chart"):
        PeptideNet(data.spec)
    with pytest.raises(IncompatibleError, match="with the parts pos, rot, angles, types"):
        PeptideNet(fl.Spec((3,)))
    with pytest.raises(IncompatibleError, match=r"weights name \['chi'\]"):
        PepFlow(path(), weights={"chi": 1.0})
    assert KIND["types"] == "posterior"
    assert set(POCKET) <= set(data.spec.conditions)


def test_the_network_at_the_authors_scale_takes_no_memory():
    """No number was found to compare with; point attention, the larger part, is counted by hand."""
    width, pair, heads, hidden, points, values = 128, 64, 8, 128, 8, 12
    with torch.device("meta"):
        net = PeptideNet(
            PeptideChart(peptide_spec(25, 100)).spec, width, pair, 6, heads, hidden, points, values, 4, 2, 12
        )
    one = (
        (width + 1) * heads * hidden * 3
        + (width + 1) * heads * 3 * (2 * points + values)
        + (pair + 1) * heads
        + (pair + 1) * (pair // 4)
        + heads
        + (heads * (hidden + pair // 4 + 4 * values) + 1) * width
    )
    counted = [sum(p.numel() for p in layer.points.parameters()) for layer in net.rounds]
    assert counted == [one] * 6
    assert sum(p.numel() for p in net.parameters()) == 6_396_797


@pytest.mark.slow
def test_recipes_run_on_drawn_peptides_and_on_files(tmp_path, monkeypatch, data, capsys):
    """End to end, the baselines beside; the authors' scale is planned without being built."""
    from flowloom_registry.cli import main

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "complexes"
    folder.mkdir()
    rows = data.take(torch.arange(24))
    for i in range(24):
        (folder / f"c{i}.pdb").write_text(pdb_text(rows, i))
    files = "data={use: peptide-files, files: [complexes], longest: 8, pocket: 3, val: 0.2, test: 0.3}"
    quick = ["train.steps=2", "train.batch=4", "solver.steps=3", "evaluate.n=6", "evaluate.questions=4"]
    small = [f"model.{name}={value}" for name, value in SMALL.items()]
    runs = {"peptides": [], "peptides-separate": [], "peptides-flat": [], "files": [files]}
    for name, more in runs.items():
        words = [word for one in (*quick, *small, *more) for word in ("--set", one)]
        recipe = "peptides" if name == "files" else name
        if name != "files":
            words += ["--set", "data.n=40"]
        assert main(["run", recipe, *words, "--out", f"run-{name}", "--quiet"]) == 0
        assert "3Dmol" in (tmp_path / f"run-{name}" / "report.html").read_text()
    exact = "solver={use: euler, steps: 3}"
    assert main(["eval", "run-peptides", "--set", exact, "--out", "exact"]) == 0
    asked = ["task", "run-peptides", "partial-sampling", "1", "--set", "parts=[pos, rot]", "-n", "2"]
    assert main([*asked, "-o", "designed.pdb"]) == 0
    assert (tmp_path / "designed-2.pdb").read_text().startswith("ATOM")
    capsys.readouterr()
    assert main(["plan", "pepflow", "--set", "data.files=[complexes]"]) == 0
    assert "parameters   6,396,797" in capsys.readouterr().out
