"""Transitions token by token against curves whose laws are all Gaussian, and the transformer's causality."""

from __future__ import annotations

import pytest
import torch

from flowloom.couplings import OptimalTransport
from flowloom.errors import IncompatibleError
from flowloom.fields import NetworkField, Wrapped
from flowloom.guidance import ClassifierFree, Guidance
from flowloom.layout import Layout
from flowloom.models import MLP
from flowloom.objectives import Batch, Step
from flowloom.solvers import Euler, EulerMaruyama, Heun
from flowloom.sources import Gaussian
from flowloom.spec import Condition, Spec
from flowloom_fewstep.autoregressive_transitions import AutoregressiveTransitions
from flowloom_fewstep.steered_trunk import Past
from flowloom_fewstep.transition_transformer import TransitionTransformer
from flowloom_fewstep.transitions_by_token import TransitionsByToken

N = 4
SPEC = Spec((N, 1))
PLACE = torch.linspace(0, 1, N, dtype=torch.float64)
COVARIANCE = (-2 * (PLACE[:, None] - PLACE).square()).exp() + 0.05 * torch.eye(N, dtype=torch.float64)
BOTH = pytest.mark.parametrize("history", [False, True], ids=["ARTM", "FHTM"])


class Exact(TransitionTransformer):
    """The law of every next token given those before it, for curves of that covariance."""

    def __init__(self, levels: tuple[float, ...], history: bool) -> None:
        super().__init__(SPEC, width=8, depth=1, heads=2, patch=1, text=None, head_width=4, head_depth=1)
        self.levels, self.history = levels, history
        self.slope = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
        self.reach = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def _weights(self, states: list[float]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weights of earlier tokens in the mean of each token, and its variance: independent noises."""
        a = torch.tensor(states, dtype=torch.float64)
        law = torch.kron(torch.outer(a, a), COVARIANCE)
        law += torch.kron(torch.diag((1 - a) ** 2), torch.eye(N, dtype=torch.float64))
        found = []
        for i in range(len(law)):
            weights = torch.linalg.solve(law[:i, :i], law[:i, i]) if i else law[:0, 0]
            found.append((weights, law[i, i] - weights @ law[:i, i]))
        return found

    def features(self, tokens, t, cond, *, prefix=0, past=None):
        if past is not None:  # what is kept of a sequence is the sequence
            before = past.pairs[0][0][:, 0] if past.pairs else tokens[:, :0]
            whole = torch.cat([before, tokens], 1)
            past.pairs[:] = [(whole[:, None], whole[:, None])]
            return self._told(whole, t)[:, -tokens.shape[1] :]
        assert prefix == (0 if self.history else N)
        return self._told(tokens, t)

    def _told(self, sequence, t):
        told = sequence.new_zeros(*sequence.shape[:2], 2)
        for level in t.unique():
            k = self.levels.index(float(level))
            assert not self.history or k == 0
            laws = self._weights(list(self.levels) if self.history else list(self.levels[k : k + 2]))
            for i in range(sequence.shape[1]):
                weights, spread = laws[i + 1] if i + 1 < len(laws) else laws[i]
                mean = sequence[:, : i + 1, 0] @ weights if len(weights) == i + 1 else sequence[:, i, 0]
                rows = t == level
                told[rows, i] = torch.stack([mean[rows], spread.expand_as(mean[rows])], 1)
        return told

    def head(self, y, tau, features):
        tau = (tau if tau.ndim > 1 else tau[:, None])[..., None]
        mean, spread = features.split(1, -1)
        gain = (tau * spread - (1 - tau)) / ((1 - tau) ** 2 + tau**2 * spread)
        mean = self.reach * mean
        return self.slope * (mean + gain * (y - tau * mean))


def curves(n: int, generator: torch.Generator) -> torch.Tensor:
    root = torch.linalg.cholesky(COVARIANCE)
    return (torch.randn(n, N, generator=generator, dtype=torch.float64) @ root.T)[..., None]


def loss(objective: AutoregressiveTransitions, model: Exact, draws: torch.Generator) -> torch.Tensor:
    x1 = curves(100_000, draws)
    batch = Batch(torch.randn(x1.shape, generator=draws, dtype=torch.float64), x1)
    total = objective.loss(model, batch, Step(generator=draws)).total
    assert isinstance(total, torch.Tensor)
    return total


def pull(objective: AutoregressiveTransitions, model: Exact, draws: torch.Generator) -> float:
    """How the loss moves with the size of the velocity, or of the mean, whichever is more."""
    both = torch.autograd.grad(loss(objective, model, draws), [model.slope, model.reach])
    return max(abs(float(g)) for g in both)


@BOTH
@pytest.mark.parametrize("spacing", ["exponential", "uniform"])
def test_the_law_of_next_tokens_is_where_the_gradient_vanishes(history, spacing, draws):
    objective = AutoregressiveTransitions(SPEC, steps=3, history=history, spacing=spacing)
    model = Exact(objective.levels, history)
    assert pull(objective, model, draws) < 0.02
    with torch.no_grad():
        model.slope.fill_(1.2)
    assert pull(objective, model, draws) > 0.3


@BOTH
def test_one_noise_for_all_levels_is_another_law(history, draws):
    """The wrong twin: the process of difference transition matching."""
    losses = {}
    for process in ("independent", "linear"):
        objective = AutoregressiveTransitions(SPEC, history=history, process=process)
        with torch.no_grad():
            losses[process] = float(loss(objective, Exact(objective.levels, history), draws))
    assert losses["linear"] < losses["independent"] - 0.015  # the noise of a mean is 0.003


@BOTH
def test_transitions_of_exact_laws_have_the_law_of_the_data(history, draws):
    objective = AutoregressiveTransitions(SPEC, steps=3, history=history)
    model = Exact(objective.levels, history).requires_grad_(False)
    x0 = torch.randn(20_000, N, 1, generator=draws, dtype=torch.float64)
    seen: list[float] = []
    solution = TransitionsByToken(inner=Heun(20)).solve(
        objective.field(model), x0, generator=draws, on_step=lambda x, t: seen.append(t)
    )
    assert seen == [0.5, 0.75, 1.0]
    assert torch.allclose(torch.cov(solution.x[..., 0].T), COVARIANCE, atol=0.035)
    assert solution.nfe == 3 * 2 * 20


def test_levels_are_the_paper_s():
    assert AutoregressiveTransitions(SPEC, steps=3).levels == (0, 0.5, 0.75, 1)
    assert AutoregressiveTransitions(SPEC, steps=2).levels == (0, 0.5, 1)
    assert AutoregressiveTransitions(SPEC, steps=4, spacing="uniform").levels == (0, 0.25, 0.5, 0.75, 1)


def transformer(spec: Spec, **more: object) -> TransitionTransformer:
    torch.manual_seed(0)
    settings: dict[str, object] = {"width": 16, "depth": 2, "heads": 2, "text": None, **more}
    model = TransitionTransformer(spec, head_width=8, head_depth=2, **settings).double()
    for p in model.parameters():
        if not p.detach().any():
            p.data.normal_(0, 0.3)
    return model.requires_grad_(False)


@pytest.mark.parametrize(
    ("shape", "patch", "count"),
    [((2, 4, 6), 2, 6), ((6, 3), 2, 3), ((4, 1), 1, 4)],
    ids=["images", "sequences", "places"],
)
def test_patches_come_together_again(shape, patch, count, draws):
    patches = transformer(Spec(shape), patch=patch).patches
    x = torch.randn(3, *shape, generator=draws)
    tokens = patches.cut(x)
    assert tokens.shape == (3, count, x[0].numel() // count)
    assert torch.equal(patches.join(tokens), x)
    values = torch.rand(3, count, generator=draws)
    spread = patches.cut(patches.spread(values))
    assert torch.equal(spread, values[..., None].expand_as(spread))
    with pytest.raises(IncompatibleError, match="patches of 5"):
        transformer(Spec(shape), patch=5)


@pytest.mark.parametrize("prefix", [0, N], ids=["causal", "prefix"])
def test_reading_at_once_is_reading_token_by_token_and_nothing_is_seen_ahead(prefix, draws):
    model, t = transformer(SPEC, patch=1), torch.rand(3, generator=draws, dtype=torch.float64)
    tokens = torch.randn(3, 3 * N, 1, generator=draws, dtype=torch.float64)
    whole, past = model.features(tokens, t, {}, prefix=prefix), Past()
    read = [model.features(tokens[:, : max(prefix, 1)], t, {}, prefix=prefix, past=past)]
    read += [
        model.features(tokens[:, i : i + 1], t, {}, prefix=prefix, past=past)
        for i in range(max(prefix, 1), 3 * N)
    ]
    assert torch.allclose(torch.cat(read, 1), whole)
    for i in range(3 * N):
        other = tokens.clone()
        other[:, i] += 1
        moved = (model.features(other, t, {}, prefix=prefix) - whole).abs().amax((0, 2))
        first = 0 if i < prefix else i
        assert float(moved[first:].min()) > 0
        assert not moved[:first].any()


@BOTH
def test_sampling_reads_what_training_read(history, draws):
    """A walk whose tokens are teacher-forced is told what the loss tells the head."""
    objective = AutoregressiveTransitions(SPEC, history=history)
    model, told = transformer(SPEC, patch=1), []
    x0 = torch.randn(2, N, 1, generator=draws, dtype=torch.float64)
    head = model.head

    def heard(y, tau, features):
        told.append(features)
        return head(y, tau, features)

    model.head = heard  # type: ignore[method-assign]
    states = [x0]
    solver = TransitionsByToken(1)
    solver.solve(objective.field(model), x0, generator=draws, on_step=lambda x, t: states.append(x))
    if history:
        sequence = torch.cat(states, 1)
        wanted = model.features(sequence[:, :-1], sequence.new_zeros(2), {})[:, N - 1 :]
    else:
        wanted = torch.cat(
            [
                model.features(
                    torch.cat([before, after[:, :-1]], 1), before.new_full((2,), level), {}, prefix=N
                )[:, N - 1 :]
                for before, after, level in zip(states, states[1:], objective.levels, strict=False)
            ],
            1,
        )
    assert torch.allclose(torch.cat(told, 1), wanted)


@BOTH
def test_a_state_that_a_hook_replaced_is_what_is_read_next(history, draws):
    objective = AutoregressiveTransitions(SPEC, history=history)
    model, told = transformer(SPEC, patch=1), []
    x0, put = torch.randn(2, 2, N, 1, generator=draws, dtype=torch.float64)
    head = model.head

    def heard(y, tau, features):
        told.append(features)
        return head(y, tau, features)

    model.head = heard  # type: ignore[method-assign]
    TransitionsByToken(1).solve(
        objective.field(model), x0, generator=draws, on_step=lambda x, t: put if t == 0.5 else None
    )
    if history:
        wanted = model.features(torch.cat([x0, put], 1), x0.new_zeros(2), {})
    else:
        wanted = model.features(put, x0.new_full((2,), 0.5), {}, prefix=N)
    assert torch.allclose(told[N], wanted[:, -1:])


def test_guidance_mixes_the_velocities_of_heads(draws):
    spec = Spec((N, 1), conditions={"label": Condition(3)})
    model = transformer(spec, patch=1)
    objective = AutoregressiveTransitions(spec, condition_dropout=0.1)
    x0 = torch.randn(5, N, 1, generator=draws, dtype=torch.float64)
    cond = {"label": torch.tensor([0, 1, 2, 0, 1])}

    def drawn(scale: float | None, told: dict[str, torch.Tensor]) -> torch.Tensor:
        field = objective.field(model, Gaussian())
        field = field if scale is None else ClassifierFree(scale)(field)
        solution = TransitionsByToken(2).solve(
            field, x0, cond=told, generator=torch.Generator().manual_seed(0)
        )
        assert solution.nfe == 3 * 2 * (1 if scale in (None, 1.0) else 2)
        return solution.x

    assert torch.allclose(drawn(1.0, cond), drawn(None, cond))
    assert torch.allclose(drawn(0.0, cond), drawn(None, {}))
    far = drawn(3.0, cond)
    assert float((far - drawn(None, cond)).abs().max()) > 1e-3


def test_nobody_asks_tokens_for_what_they_do_not_tell():
    """Scores, or a second model that has not read the states, are told of when the recipe is built."""

    class Second(Wrapped):
        def __init__(self, field):
            super().__init__(field)
            self.weak = field

    class WithSecond(Guidance):
        def __call__(self, field):
            return Second(field)

    def said(solver, guidance=None):
        parts = {"objective": AutoregressiveTransitions(SPEC), "source": Gaussian(), "guidance": guidance}
        return [(clash.first, clash.message) for clash in solver.clashes(parts)]

    assert not said(TransitionsByToken(inner=Heun(2)), ClassifierFree(2.0))
    ((first, message),) = said(TransitionsByToken(inner=EulerMaruyama(3)))
    assert (first, "score" in message) == ("solver", True)
    ((first, message),) = said(TransitionsByToken(2), WithSecond())
    assert (first, "second network" in message) == ("guidance", True)


@BOTH
def test_every_parameter_is_trained(history, draws):
    spec = Spec((2, 4, 4), conditions={"text": Condition(shape=(3, 5))})
    torch.manual_seed(0)
    model = TransitionTransformer(spec, width=16, depth=1, heads=2, head_width=8, head_depth=1)
    objective = AutoregressiveTransitions(spec, history=history, draws=2)
    batch = Batch(*torch.randn(2, 8, 2, 4, 4), {"text": torch.randn(8, 3, 5)})
    objective.loss(model, batch, Step(generator=draws)).total.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_what_does_not_fit_is_refused(draws):
    objective = AutoregressiveTransitions(SPEC, history=True)
    with pytest.raises(IncompatibleError, match="transition-transformer"):
        objective.loss(MLP(SPEC, width=8, depth=1), Batch(*torch.randn(2, 3, N, 1)), Step())
    with pytest.raises(IncompatibleError, match="whole states of one size"):
        AutoregressiveTransitions(Spec((N, 1), conditions={"mask": Condition(shape=(N,), role="real")}))
    for wrong in ({"steps": 0}, {"draws": 0}, {"spacing": "even"}, {"process": "free"}):
        with pytest.raises(ValueError, match=r"at least 1|exponential"):
            AutoregressiveTransitions(SPEC, **wrong)
    parts = {
        "source": Gaussian(2.0),
        "coupling": OptimalTransport(),
        "model": transformer(SPEC, patch=1, states=2),
    }
    said = [clash.message for clash in objective.clashes(parts)]
    assert [word in text for word, text in zip(("fresh N", "pair", "states: 4"), said, strict=True)] == [
        True
    ] * 3
    (clash,) = objective.clashes({"model": MLP(SPEC, width=8, depth=1)})
    assert "MLP is none" in clash.message
    short = objective.field(transformer(SPEC, patch=1, states=2))
    with pytest.raises(IncompatibleError, match="more than the 2 states of 4 tokens"):
        TransitionsByToken(1).solve(short, torch.zeros(1, N, 1, dtype=torch.float64), generator=draws)
    field = objective.field(transformer(SPEC, patch=1))
    x0, given = torch.zeros(1, N, 1), Layout(given=torch.ones(1, N, dtype=torch.bool))
    for more in ({"span": (0.0, 0.5)}, {"layout": given}):
        with pytest.raises(IncompatibleError, match="whole states of one size"):
            TransitionsByToken().solve(field, x0, generator=draws, **more)
    with pytest.raises(IncompatibleError, match="law of transitions"):
        TransitionsByToken().solve(NetworkField(MLP(SPEC, width=8, depth=1), "velocity"), x0)
    assert TransitionsByToken(inner=Euler(3)).with_steps(5).inner.steps == 5
