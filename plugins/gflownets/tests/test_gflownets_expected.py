"""Expected and adversarial flow networks: exact flows by recursion, games by minimax, self-play."""

import itertools
import math

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.geometry import Discrete
from flowloom.kinds import Kind
from flowloom.objectives import Batch, Step
from flowloom.testing import check
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom.training.feeds import Feeding
from flowloom_gflownets.environment import Hypergrid
from flowloom_gflownets.exact import expected, law_of, target_of
from flowloom_gflownets.expected.objectives import ChanceBlind, ExpectedDetailedBalance
from flowloom_gflownets.expected.tree import ChanceTree, RandomLeaves, number_of
from flowloom_gflownets.feed import Walks
from flowloom_gflownets.games.feed import SelfPlay
from flowloom_gflownets.games.line import LineGame
from flowloom_gflownets.games.models import AZResNet, PlayerMLPs
from flowloom_gflownets.games.objectives import AdversarialBalance, UniformOpponent
from flowloom_gflownets.games.solved import OptimalMoves, solved
from flowloom_gflownets.objectives import DetailedBalance
from flowloom_gflownets.policy import PolicyField, PolicyMLP
from flowloom_gflownets.score import ExactGap
from flowloom_gflownets.solver import Rollout
from flowloom_gflownets.source import Root
from flowloom_gflownets.trajectories import retraced, roll_out
from flowloom_registry.config.build import build
from flowloom_registry.config.recipe import load_recipe

KIND = Kind("environment", "flowloom_gflownets.environment:Environment", "", "flowloom_gflownets.laws")


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def tree(error=0.2, choices=3):
    return ChanceTree(RandomLeaves(4, choices + 1), rounds=2, choices=choices, error=error)


def path_of(environment):
    return fl.paths.MixturePath(Discrete(environment.spec.vocab))


class Table(nn.Module):
    """A policy and log flows by the number of a state, instead of a network."""

    def __init__(self, environment, said, spoil=0.0):
        super().__init__()
        self.environment, self.base = environment, environment.spec.vocab
        self.said = nn.Parameter(said + spoil * torch.randn(said.shape, generator=draws()).to(said))

    def forward(self, x, t=None, /, **cond):
        return self.said[number_of(x, self.base)]


def true_flows(environment, spoil=0.0):
    """By the recursion of the paper, state by state: sums for choices, means for outcomes."""
    states = environment.states()
    said = torch.zeros(environment.actions ** states.shape[1], 2 * environment.actions).double()
    flow = {}
    for x in reversed(states):
        place, count = int(number_of(x[None], environment.actions)), int((x > 0).sum())
        if count == len(x):
            flow[place] = math.exp(-float(environment.energy(x[None], {})))
        else:
            children = []
            for a in range(environment.choices):
                child = environment.step(x[None], torch.tensor([a]))
                children.append(flow[int(number_of(child, environment.actions))])
            if count % 2:
                other = environment.error / (environment.choices - 1)
                laws = [other] * environment.choices
                laws[int(x[count - 1]) - 1] = 1 - environment.error
                flow[place] = sum(p * f for p, f in zip(laws, children, strict=True))
            else:
                flow[place] = sum(children)
                said[place, : environment.choices] = torch.tensor(children).log()
        said[place, -1] = math.log(flow[place])
    return Table(environment, said, spoil), math.log(flow[0])


# -- chance ---------------------------------------------------------------------------------------


class _Leaky(ChanceTree):
    def chance(self, x):
        found = super().chance(x)
        return type(found)(found.moves, found.log_law - 0.1)


@pytest.mark.parametrize("make", [tree, lambda: tree(0.0), LineGame, lambda: LineGame(4, 3, 3, falls=True)])
def test_environments_keep_the_laws(make):
    results = check(make, KIND)
    assert all(r.ok for r in results), [str(r) for r in results]


def test_a_chance_that_is_no_law_breaks_them():
    results = {r.name: r.status for r in check(lambda: _Leaky(RandomLeaves(4), rounds=2), KIND)}
    assert results["check_chance"] == "failed"


@pytest.mark.parametrize("error", [0.1, 0.5])
def test_expected_balance_is_zero_at_the_true_flows_and_nowhere_near(error):
    space = tree(error)
    model, log_z = true_flows(space)
    loss = ExpectedDetailedBalance(space, path_of(space))
    walks = roll_out(loss.policy(model), space.root(100), epsilon=0.5, generator=draws())
    assert float(loss.residuals(model, walks).abs().max()) < 1e-5
    assert float(loss.log_z(model)) == pytest.approx(log_z, abs=1e-6)
    assert len(loss.residuals(model, walks)) == 400  # two choices and two outcomes a walk
    spoilt, _ = true_flows(space, spoil=0.3)
    assert float(loss.residuals(spoilt, walks).abs().mean()) > 0.05
    # Another law of chance is another balance.
    other = ExpectedDetailedBalance(tree(error + 0.2), path_of(space))
    assert float(other.residuals(model, walks).abs().mean()) > 0.02
    # And no policy satisfies the one that leaves chance out.
    blind = ChanceBlind(space, path_of(space), log_partition=log_z)
    assert float(blind.residuals(model, walks).abs().mean()) > 0.3


def test_without_errors_chance_is_no_part_of_the_walk():
    space = tree(0.0)
    model, log_z = true_flows(space)
    blind = ChanceBlind(space, path_of(space), log_partition=log_z)
    walks = roll_out(blind.policy(model), space.root(50), generator=draws())
    assert float(blind.residuals(model, walks).abs().max()) < 1e-5


def test_on_a_grid_expected_balance_is_detailed_balance():
    grid = Hypergrid(4)
    torch.manual_seed(0)
    model, path = PolicyMLP(grid, width=8), path_of(grid)
    expect = ExpectedDetailedBalance(grid, path)
    plain = DetailedBalance(grid, path)
    walks = roll_out(plain.policy(model), grid.root(20), generator=draws())
    inner = walks.of(grid.allowed(walks.x)[:, :-1].any(1) & grid.allowed(walks.after)[:, :-1].any(1))
    torch.testing.assert_close(expect.residuals(model, inner), plain.residuals(model, inner))


def test_the_exact_law_is_that_of_the_recursion_and_of_samples():
    space = tree(0.3)
    model, log_z = true_flows(space)
    target = target_of(space)
    assert target.log_z == pytest.approx(log_z, abs=1e-6)
    assert float(target.probabilities.sum()) == pytest.approx(1)
    field = PolicyField(model, space, Discrete(4))
    torch.testing.assert_close(law_of(field), target.probabilities, atol=1e-6, rtol=0)
    ends = roll_out(field, space.root(20_000), generator=draws()).ends
    counts = space.index(ends).bincount(minlength=len(space.states())) / 20_000
    assert float((counts - target.probabilities).abs().sum()) < 0.08
    reward = (-space.energy(space.states()[-81:], {})).softmax(0)
    assert float((target.probabilities[-81:] - reward).abs().sum()) > 0.2
    law, _ = expected(space)
    torch.testing.assert_close(law.sum(1), torch.ones(len(law)).double())


def test_training_comes_nearer_to_the_expected_flows():
    space = tree(0.1, choices=2)
    torch.manual_seed(0)
    path = path_of(space)
    flow = fl.Flow(
        PolicyMLP(space, width=32),
        spec=space.spec,
        source=Root(space),
        path=path,
        objective=ExpectedDetailedBalance(space, path, epsilon=0.2),
        solver=Rollout(),
    )
    seen = fl.data.Examples(space.root(1))
    before = ExactGap()(flow, seen)
    config = TrainConfig(steps=60, batch=16, lr=1e-2, ema=0)
    list(flow.trainer(Walks(space), config, seed=0).run())
    after = ExactGap()(flow, seen)
    assert after["l1"] < 0.5 * before["l1"]
    assert after["log_z_error"] < 0.5 * before["log_z_error"]


# -- games ----------------------------------------------------------------------------------------


def _won(stones, lines):
    return any(all(cell in stones for cell in line) for line in lines)


def test_boards_and_lines_by_hand():
    game = LineGame()
    lines = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
    assert {tuple(sorted(line)) for line in game.lines.tolist()} == set(lines)
    walks = roll_out(PolicyField(PlayerMLPs(game, 4), game, Discrete(10)), game.root(60), generator=draws())
    for end, won in zip(walks.ends.tolist(), game.outcome(walks.ends).tolist(), strict=True):
        moves = [m - 1 for m in end if m]
        first, second = _won(moves[::2], lines), _won(moves[1::2], lines)
        assert won == first - second
        assert won or len(moves) == 9
        assert len(set(moves)) == len(moves)
    assert set(game.outcome(walks.ends).tolist()) == {-1, 0, 1}


def test_stones_fall_to_the_lowest_free_cell():
    game = LineGame(6, 7, 4, falls=True)
    x = game.root(1)
    for column in (3, 3, 2, 3, 1, 6, 0):
        assert not bool(game.allowed(x)[0, game.stop])
        x = game.step(x, torch.tensor([column]))
    first, second = (plane.nonzero()[:, 0].tolist() for plane in game.board(x)[0])
    assert first == [0, 1, 2, 3]
    assert second == [6, 7 + 3, 14 + 3]
    assert int(game.outcome(x)) == 1
    assert game.allowed(x)[0].tolist() == [False] * 7 + [True]
    assert float(game.energy(x, {})) == -10
    assert len(game.lines) == 69


def test_tic_tac_toe_is_the_game_that_it_is():
    levels = solved(3, 3, 3, False)
    assert sum(len(level.x) for level in levels) == 5478
    legal = [level.children >= 0 for level in levels]
    assert sum(int(one.any(1).sum()) for one in legal) == 4520
    assert int(levels[0].value) == 0
    share, count = 0.0, 0
    for level, one in zip(levels, legal, strict=True):
        matters = one.any(1) & (level.optimal != one).any(1)
        share += float((level.optimal.sum(1) / one.sum(1).clamp_min(1))[matters].sum())
        count += int(matters.sum())
    assert share / count == pytest.approx(0.405, abs=0.002)


def exact_players(game):
    """Policies and log Z by the recursion of means, over every game."""
    said = torch.zeros(game.spec.vocab**game.cells, 2 * game.actions).double()

    def flow(moves):
        x = torch.tensor([moves + [0] * (game.cells - len(moves))])
        allowed = game.allowed(x)[0, :-1].nonzero()[:, 0].tolist()
        if not allowed:
            return -float(game.energy(x, {}))
        children = {a: flow([*moves, a + 1]) for a in allowed}
        sign = 1 if len(moves) % 2 == 0 else -1
        logs = torch.tensor([sign * children[a] for a in allowed]).double()
        own = float(logs.logsumexp(0)) - math.log(len(allowed))
        said[int(number_of(x, game.spec.vocab)), allowed] = logs
        return sign * own

    log_z = flow([])
    return Table(game, said), log_z


def test_adversarial_balance_is_zero_at_the_exact_players():
    game = LineGame(1, 4, 2, stake=2.0)
    model, log_z = exact_players(game)
    loss = AdversarialBalance(game, path_of(game), epsilon=0.5, log_partition=log_z)
    walks = roll_out(loss.policy(model), game.root(100), epsilon=0.5, generator=draws())
    assert len(walks.walk.bincount().unique()) > 1
    assert float(loss.residuals(model, walks).abs().max()) < 1e-5
    # Without the numbers of moves, or with the second player's sign turned, it is not.
    count = game.allowed(walks.x).sum(-1).log()
    side = game.side(walks.x)
    own = loss.log_forward(loss.said(model, walks), walks)
    for wrong in (torch.where(side == 0, own, -own), own + count):
        sums = torch.zeros(100).double().index_add(0, walks.walk, wrong.double())
        assert float((log_z + sums - loss.log_reward(walks.ends)).abs().max()) > 0.3


def test_walks_are_retraced():
    game = LineGame()
    field = PolicyField(PlayerMLPs(game, 4), game, Discrete(10))
    walks = roll_out(field, game.root(20), generator=draws())
    again = retraced(game, walks.ends, generator=draws(1))
    order = (walks.walk * 20 + walks.number).argsort()
    other = (again.walk * 20 + again.number).argsort()
    for name in ("walk", "number", "x", "action", "after"):
        assert torch.equal(getattr(walks, name)[order], getattr(again, name)[other]), name
    grid = Hypergrid(4)
    ends = torch.tensor([[2, 3], [0, 0]])
    back = retraced(grid, ends, generator=draws())
    assert back.walk.bincount().tolist() == [6, 1]
    moved = back.action != grid.stop
    assert torch.equal(grid.step(back.x[moved], back.action[moved]), back.after[moved])
    assert torch.equal(back.x[back.number == 0], grid.root(2))


def test_a_random_opponent_is_part_of_the_graph():
    game = LineGame(1, 3, 2, stake=1.0)
    loss = UniformOpponent(game, path_of(game))
    torch.manual_seed(0)
    model = PlayerMLPs(game, 4)
    root = game.root(6)
    walks = loss.walks(model, fl.objectives.Batch(root, root), fl.objectives.Step(generator=draws()))
    value = loss.residuals(model, walks)
    law = PolicyField(model, game, Discrete(4))
    for w in range(6):
        player, total = int(w >= 3), 0.0
        for i in (walks.walk == w).nonzero()[:, 0]:
            x = walks.x[i : i + 1]
            own = law(x, None, {})[0, walks.action[i]]
            total += float(own) if int(game.side(x)) == player else -math.log(int(game.allowed(x).sum()))
        reward = -float(game.energy(walks.ends[w : w + 1], {}))
        assert float(value[w]) == pytest.approx(total - (reward if player == 0 else -reward), abs=1e-5)


def test_a_perfect_player_is_judged_perfect():
    """A policy that likes optimal moves alone, made of minimax itself."""
    game = LineGame()
    levels = solved(3, 3, 3, False)

    class Perfect(nn.Module):
        def __init__(self, good):
            super().__init__()
            self.zero = nn.Parameter(torch.zeros(()))
            self.known = {}
            for level in levels:
                for board, best in zip(game.board(level.x), level.optimal, strict=True):
                    self.known[tuple(board.flatten().tolist())] = best if good else ~best

        def forward(self, x, t=None, /, **cond):
            rows = [self.known[tuple(board.flatten().tolist())] for board in game.board(x)]
            return nn.functional.pad(30.0 * torch.stack(rows).float(), (0, 11)) + self.zero

    found = []
    for good in (True, False):
        path = path_of(game)
        flow = fl.Flow(Perfect(good), spec=game.spec, path=path, objective=AdversarialBalance(game, path))
        found.append(OptimalMoves()(flow, fl.data.Examples(game.root(1))))
    assert found[0]["optimal"] == 1
    assert found[0]["loses_second"] == pytest.approx(0, abs=1e-6)
    assert found[0]["loses_first"] == pytest.approx(0, abs=1e-6)
    assert found[1]["optimal"] == 0
    assert found[1]["loses_second"] > 0.5


def _self_play(seed):
    torch.manual_seed(seed)
    game = LineGame()
    path = path_of(game)
    flow = fl.Flow(
        PlayerMLPs(game, 8),
        spec=game.spec,
        source=Root(game),
        path=path,
        objective=AdversarialBalance(game, path, replayed=True),
        solver=Rollout(),
    )
    feed = SelfPlay(game, capacity=60, first=30, fresh=20, every=2)
    config = TrainConfig(steps=6, batch=8, ema=0, rates={"objective.log_partition": 50.0})
    return flow.trainer(feed, config, seed=4)


def test_self_play_that_was_killed_goes_on_with_the_same_bits(tmp_path):
    whole = _self_play(0)
    list(whole.run(3))
    folder = save_checkpoint(whole, tmp_path)
    list(whole.run())
    second = _self_play(9)
    load_checkpoint(second, folder)
    list(second.run())
    a, b = whole.flow.state_dict(), second.flow.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert abs(float(whole.flow.objective.log_partition.detach())) > 0.05


def test_self_play_keeps_finished_games_of_a_softer_policy():
    trainer = _self_play(0)
    flow, feed = trainer.flow, SelfPlay(LineGame(), capacity=100, first=30, fresh=20, every=2)
    feed.start(Feeding(flow, 8))
    feed.refresh(flow, 0, draws())
    assert feed.stored == 30
    feed.refresh(flow, 2, draws(1))
    assert feed.stored == 50
    assert bool(LineGame().allowed(feed.kept["x"])[:, -1].all())


@pytest.mark.parametrize(
    ("recipe", "cells", "moves", "filters", "blocks"),
    [("tic-tac-toe-full", 9, 9, 32, 3), ("connect-four-full", 42, 7, 128, 10)],
)
def test_the_papers_size(recipe, cells, moves, filters, blocks):
    """The tower and both policy heads of the authors' code; the paper counts no parameters."""
    with torch.device("meta"):
        built = build(load_recipe(recipe))
    tower = 28 * filters + 2 * blocks * (9 * filters + 1) * filters
    heads = 2 * ((filters + 1) * 32 + (32 * cells + 1) * moves)
    assert sum(p.numel() for p in built["model"].parameters()) == tower + heads


def test_a_tower_speaks_for_the_player_whose_move_it_is():
    game = LineGame()
    torch.manual_seed(0)
    model = AZResNet(game, filters=4, blocks=1, head=2)
    x = game.root(1)
    before = model(x)
    model.moves[1].weight.data += 1
    assert torch.equal(model(x), before)
    after = game.step(x, torch.tensor([4]))
    said = model(after)
    model.moves[0].weight.data += 1
    assert torch.equal(model(after), said)
    assert said.shape == (1, 20)


def test_what_does_not_fit_is_told():
    with pytest.raises(IncompatibleError, match="no game"):
        AdversarialBalance(Hypergrid(3), path_of(Hypergrid(3)))
    board = LineGame()
    replayed = AdversarialBalance(board, path_of(board), replayed=True)
    with pytest.raises(IncompatibleError, match="use feed: self-play"):
        replayed.loss(PlayerMLPs(board, 4), Batch(board.root(2), board.root(2)), Step())
    with pytest.raises(ValueError, match="a line that fits"):
        LineGame(2, 2, 5)
    for leaves in (RandomLeaves(6), RandomLeaves(4, vocab=3), RandomLeaves(4, vocab=5)):
        with pytest.raises(IncompatibleError, match=r"vocabulary 4\) of shape \(4,\), and energy Random"):
            ChanceTree(leaves, rounds=2)
    big = LineGame(6, 7, 4, falls=True)
    flow = fl.Flow(PlayerMLPs(big, 4), spec=big.spec, objective=AdversarialBalance(big, path_of(big)))
    with pytest.raises(IncompatibleError, match="at most 16 cells"):
        OptimalMoves().require(flow)


def test_random_leaves_are_a_table():
    energy = RandomLeaves(2, 3, spread=2.0)
    values = energy(torch.tensor(list(itertools.product(range(3), repeat=2))), {})
    assert len(values.unique()) == 9
    assert torch.equal(
        values, RandomLeaves(2, 3, spread=2.0)(torch.cartesian_prod(*[torch.arange(3)] * 2), {})
    )


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (lambda: PolicyMLP(Hypergrid(3), width=0), "width"),
        (lambda: PlayerMLPs(LineGame(), width=-1), "width"),
        (lambda: AZResNet(LineGame(), filters=0), "filters"),
        (lambda: AZResNet(LineGame(), blocks=-1), "blocks"),
    ],
)
def test_sizes_that_cannot_be_are_told(made, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        made()
