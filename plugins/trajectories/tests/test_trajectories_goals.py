"""Goals: what is scored and withheld, who chooses, shadows, and a judge that can fail."""

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.objectives import Batch, Step
from flowloom.spec import Condition, Spec
from flowloom.trained import Trained
from flowloom_trajectories.goals import (
    Failures,
    GoalFlow,
    GoalPlan,
    GoalScorer,
    GoalScores,
    GoalTransformer,
    Junction,
    LinearSkipMLP,
)
from flowloom_trajectories.goals.junction import EXITS, bezier


def scorer(data, goals=6):
    torch.manual_seed(0)
    flow = fl.Flow(GoalScorer(data.spec, goals=goals, width=8), objective=GoalScores(data))
    flow.fit_parts(data, seed=0)
    return flow


def test_labels_are_soft_by_squared_distance():
    data = Junction(60)
    flow, rows = scorer(data), data.all()
    logits = torch.randn(60, 2, 6, generator=torch.Generator().manual_seed(0))

    class Says(torch.nn.Module):
        def forward(self, x, t, /, **cond):
            return logits

    loss = flow.objective.loss(Says(), Batch(rows.x, rows.x, rows.cond), Step())
    goals, vocabulary = rows.cond["goal"], flow.objective.vocabulary
    wanted = torch.zeros(())
    for i in range(60):
        share = torch.exp(-(vocabulary - goals[i]).square().sum(1))
        wanted = wanted - (share / share.sum() * logits[i, 0].log_softmax(0)).sum() / 60
    torch.testing.assert_close(loss.parts["distance"], wanted)
    open_ = data.drivable(vocabulary, rows.cond["scene"]).float()
    entropy = torch.nn.functional.binary_cross_entropy(logits[:, 1].sigmoid(), open_)
    torch.testing.assert_close(loss.parts["drivable"], entropy)


def test_labels_do_not_depend_on_where_the_origin_is():
    data = Junction(60)
    flow, rows = scorer(data, goals=30), data.all()
    flow.objective.drivable = None
    losses = []
    for off in (0.0, 1024.0):
        flow.objective.vocabulary = (flow.objective.vocabulary * 64).round() / 64 + off
        cond = rows.cond | {"goal": (rows.cond["goal"] * 64).round() / 64 + off}
        loss = flow.objective.loss(flow.model, Batch(rows.x, rows.x, cond), Step())
        losses.append(float(loss.parts["distance"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_closed_exits_are_not_drivable():
    data = Junction(10)
    scene = torch.tensor([[1.0, 0.0, 1.0]])
    assert data.drivable(EXITS, scene).tolist() == [[True, False, True]]
    assert not data.drivable(torch.tensor([[6.0, 6.0]]), scene).any()


def test_the_scorer_reads_no_goal():
    data = Junction(10)
    model, rows = GoalScorer(data.spec, goals=4, width=8), data.all()
    t = torch.zeros(10)
    told = model(rows.x, t, **rows.cond)
    assert torch.equal(told, model(rows.x * 0, t, scene=rows.cond["scene"], goal=rows.cond["goal"] + 5))


def test_goals_are_made_up_where_none_are_given_and_only_there():
    data = Junction(40)
    objective = GoalFlow(scorer=Trained(scorer(data)), pick="top")
    rows = data.all()
    made = objective.complete({"scene": rows.cond["scene"]}, 40)["goal"]
    vocabulary = objective.scorer.flow.objective.vocabulary
    assert bool((made[:, None] == vocabulary).all(-1).any(1).all())
    assert objective.complete(rows.cond, 40)["goal"] is rows.cond["goal"]
    assert GoalFlow().invents == ()
    with pytest.raises(IncompatibleError, match="a run of objective: goal-scores"):
        GoalFlow(scorer=Trained(fl.Flow(fl.models.MLP(data.spec, width=8, depth=1))))
    with pytest.raises(IncompatibleError, match="mean of 4 goals, and the scorer knows 3"):
        GoalFlow(scorer=Trained(scorer(data, goals=3)), pick="top", top=4)


def test_drawn_goals_have_the_probabilities_of_their_scores():
    data = Junction(40)
    objective = GoalFlow(scorer=Trained(scorer(data, goals=3)))
    scene = {"scene": torch.tensor([[1.0, 1.0, 0.0]]).expand(4000, 3)}
    rule = objective.scorer.flow.objective
    wanted = rule.scores(objective.scorer, scene, 4000)[0].softmax(0)
    goals = objective.chosen(scene, 4000, torch.Generator().manual_seed(0))
    share = (goals[:, None] == rule.vocabulary).all(-1).float().mean(0)
    torch.testing.assert_close(share, wanted, atol=0.03, rtol=0)


def test_three_cases_of_what_is_told():
    data, seen = Junction(4000), []

    class Spy(torch.nn.Module):
        conditional = True

        def forward(self, x, t, /, **cond):
            seen.append(cond)
            return x

    rows = data.all()
    goal = rows.cond["goal"].clone()
    batch = Batch(rows.x, rows.x, rows.cond)
    step = Step(generator=torch.Generator().manual_seed(0))
    GoalFlow(goal_dropout=0.3, condition_dropout=0.2).loss(Spy(), batch, step)
    told = seen[0]
    assert abs(float(told["null"].float().mean()) - 0.2) < 0.03
    assert abs(float(told["null_goal"].float().mean()) - 0.3) < 0.03
    both = float((told["null"] & told["null_goal"]).float().mean())
    assert abs(both - 0.06) < 0.02
    assert torch.equal(rows.cond["goal"], goal)  # masking writes into nothing
    assert "null_goal" not in rows.cond


def test_the_band_reaches_neighbours_in_one_layer_and_further_in_more():
    data = Junction(4)
    rows, t = data.all(), torch.full((4,), 0.3)
    for depth, reached in ((1, 2), (3, 4)):
        torch.manual_seed(0)
        model = GoalTransformer(data.spec, width=16, depth=depth, heads=2)
        x = rows.x.clone()
        before = model(x, t, **rows.cond)
        x[:, 0] += 1
        moved = ((model(x, t, **rows.cond) - before).abs().amax((0, 2)) > 1e-7).tolist()
        assert moved == [i < reached for i in range(8)]


def test_a_skip_is_linear_and_what_is_withheld_is_nothing():
    data = Junction(6)
    rows, t = data.all(), torch.full((6,), 0.2)
    model = LinearSkipMLP(data.spec, width=8, depth=1)
    torch.nn.init.zeros_(model.out.weight)
    off = {"null_goal": torch.ones(6, dtype=torch.bool)}
    told = torch.cat([rows.x.flatten(1), rows.cond["scene"], rows.cond["goal"]], 1)
    wanted = model.skip(told).reshape(6, 8, 2) + model.out.bias.reshape(8, 2)
    torch.testing.assert_close(model(rows.x, t, **rows.cond), wanted)
    moved = {**rows.cond, "goal": rows.cond["goal"] + 1}
    assert torch.equal(model(rows.x, t, **moved, **off), model(rows.x, t, **rows.cond, **off))


def test_failures_by_hand():
    scene = torch.tensor([[1.0, 1.0, 0.0]]).expand(4, 3)
    good = bezier(EXITS[:2], 8)
    closed = bezier(EXITS[2:], 8)
    crooked = good[:1].clone()
    crooked[:, 3] += 2
    found = Failures()(
        Examples(torch.cat([good, closed, crooked])), Examples(torch.zeros(4, 8, 2), {"scene": scene})
    )
    assert found == {"failure_rate": 0.5, "exit_entropy": pytest.approx(1.0)}
    rows = Junction(300).all()
    assert Failures()(rows, rows)["failure_rate"] < 0.02


class Drives(torch.nn.Module):
    """Goes to its goal; without one, straight ahead."""

    conditional = True

    def __init__(self, data):
        super().__init__()
        self.spec, self.nothing = data.spec, torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, t, /, **cond):
        shadow = cond.get("null_goal", torch.zeros(len(x), dtype=torch.bool))
        ends = torch.where(shadow[:, None], EXITS[1], cond["goal"])
        return bezier(ends, x.shape[1]) - x + self.nothing


@pytest.mark.parametrize("guidance", [None, fl.guidance.ClassifierFree(2.0)])
def test_shadows_deny_a_goal_that_is_far_from_all_of_them(guidance):
    """With guidance as well, whose conditional branch must not be shown the goal that shadows lack."""
    data = Junction(60)
    stage = Trained(scorer(data, goals=12))
    flow = fl.Flow(
        Drives(data),
        objective=GoalFlow(scorer=stage),
        source=fl.sources.Gaussian(1e-3),
        solver=fl.solvers.Euler(1),
        guidance=guidance,
    )
    asked, _ = GoalPlan().pose(data, 30, torch.Generator().manual_seed(0))
    assert "goal" not in asked.cond
    trusting = GoalPlan(candidates=2, threshold=None)(flow, asked, seed=1).x[:, -1]
    wary = GoalPlan(candidates=2, threshold=0.4)(flow, asked, seed=1).x[:, -1]
    far = (trusting - EXITS[1]).norm(dim=1) / EXITS[1].norm() > 0.4
    assert 0 < int(far.sum()) < 30
    torch.testing.assert_close(wary[far], EXITS[1].expand(int(far.sum()), 2), atol=0.02, rtol=0)
    torch.testing.assert_close(wary[~far], trusting[~far])
    plain = fl.Flow(fl.models.MLP(data.spec, width=8, depth=1))
    with pytest.raises(IncompatibleError, match="goal-flow that has a scorer"):
        GoalPlan()(plain, asked)


def test_the_papers_size():
    """8 layers of 8 heads and a vocabulary of 4,096 goals are built without memory."""
    data = Junction()
    with torch.device("meta"):
        model, scores = GoalTransformer(data.spec), GoalScorer(data.spec, goals=4096, width=256)
    assert len(model.layers) == 8
    assert scores(torch.empty(2, 8, 2), torch.empty(2), scene=torch.empty(2, 3, device="meta")).shape == (
        2,
        2,
        4096,
    )


def test_scenes_may_be_classes():
    """One id a row, embedded: another class is another scene, and order among classes means nothing."""
    spec = Spec((4, 2), conditions={"scene": Condition(3), "goal": Condition(shape=(2,))})
    x, t, scene = torch.zeros(3, 4, 2), torch.full((3,), 0.5), torch.arange(3)
    scores = GoalScorer(spec, goals=5, width=8)(x, t, scene=scene)
    assert scores.shape == (3, 2, 5)
    assert not torch.isclose(scores[1], (scores[0] + scores[2]) / 2).all()
    ways = GoalTransformer(spec, width=16, depth=2, heads=2)(x, t, scene=scene, goal=torch.zeros(3, 2))
    assert ways.shape == x.shape
    assert not ways[0].equal(ways[1])
