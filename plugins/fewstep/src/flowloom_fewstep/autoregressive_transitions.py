"""Transition matching token by token: each state is drawn after the one before it, or after all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import drop, require_dropout
from flowloom.couplings import Coupling, Independent
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.objectives import Batch, Loss, Objective, Step, dropout_clashes
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom.state import Cond, State
from flowloom_fewstep.transition_transformer import TransitionTransformer
from flowloom_fewstep.unit_time import require_unit_time

__all__ = ["KIND", "AutoregressiveTransitions", "TransitionLaw"]

KIND = "transition-law"
Spacing = Literal["exponential", "uniform"]
Process = Literal["independent", "linear"]


class TransitionLaw(Field):
    """The law of the next state, token after token, for solver ``transitions-by-token``.

    Args:
        model: which says it.
        path: between noise and data, at whose times the states stand.
        levels: those times, from source to data.
        history: whether the law is told all states so far, or the last one and its time.
        source: the law of the first state.
    """

    kind = KIND

    def __init__(
        self,
        model: TransitionTransformer,
        path: Path,
        levels: tuple[float, ...],
        history: bool,
        source: Source | None = None,
    ) -> None:
        self.model, self.path, self.source = model, path, source
        self.levels, self.history = levels, history
        self.told_by(model)

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """The mean of every token of the next state; see `TransitionTransformer.forward`."""
        mean: State = self.model(x, t, **cond)
        return mean


class AutoregressiveTransitions(Objective):
    r"""Learn :math:`p(x_{k+1} | x_k)` token by token (ARTM) or :math:`p(x_{k+1} | x_0 \dots x_k)` (FHTM).

    Shaul et al. 2506.23589, section 2.2 and algorithms 5 and 7. States stand at T + 1 levels
    :math:`a_0 = 0 < \dots < a_T = 1` of the *independent* linear process, with fresh noise for each:

    .. math:: x_k = (1 - a_k)\, \epsilon_k + a_k\, x_1, \qquad
              L = E\,\big\|g_\theta(y_s, s, h^i) - (x^i_{k+1} - y_0)\big\|^2, \qquad
              y_s = (1 - s)\, y_0 + s\, x^i_{k+1}

    with :math:`y_0 \sim N(0, I)`, s uniform on [0, 1] for every token, and :math:`h^i` what a transformer
    says after it read :math:`x_k` (ARTM; it is told :math:`a_k`, and the tokens of :math:`x_k` see each
    other) or all states so far (FHTM, which is causal throughout and told no time), and then
    :math:`x^{<i}_{k+1}`. FHTM takes all T transitions of a row at once, by teacher forcing.

    With one noise for all levels (``process: linear``) the next state is nearly a function of the last, which
    networks that see its first tokens learn in place of the law (A.4): that is for comparison. The paper's
    language model, which has a begin-of-image token in place of :math:`x_0`, is not here.

    Args:
        spec: of the states, injected from the recipe.
        path: affine, of the recipe.
        steps: T; 2 or 3 in the paper.
        history: False for ARTM, True for FHTM.
        spacing: of the levels: ``exponential`` (1/2, 3/4, ..., 1), the paper's choice, or ``uniform``.
        process: ``independent`` as above, or ``linear`` with one noise for all levels.
        draws: inner pairs a token for one pass of the trunk.
        condition_dropout: probability with which a row's conditions are withheld.

    Raises:
        IncompatibleError: states are not flat, rows have sizes or given entries, or times are not [0, 1].
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        spec: Spec,
        path: Path | None = None,
        steps: int = 3,
        history: bool = False,
        spacing: Spacing = "exponential",
        process: Process = "independent",
        draws: int = 1,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.path = path or AffinePath()
        if not (self.path.affine and self.path.geometry.straight):
            raise IncompatibleError(
                "autoregressive-transitions adds noise to states, which needs path: affine on one tensor, "
                f"not {self.path.geometry}"
            )
        require_unit_time("autoregressive-transitions", self.path)
        if sized := (*spec.named("real"), *spec.named("given")):
            raise IncompatibleError(
                "autoregressive-transitions draws whole states of one size, and the data say by "
                f"{', '.join(sized)} what is real or given"
            )
        require_dropout(condition_dropout)
        if steps < 1 or draws < 1:
            raise ValueError(f"steps and draws are at least 1, got {steps} and {draws}")
        if spacing not in ("exponential", "uniform") or process not in ("independent", "linear"):
            raise ValueError(
                "spacing is exponential or uniform and process independent or linear, not "
                f"{spacing!r} and {process!r}"
            )
        between = [1 - 0.5**k if spacing == "exponential" else k / steps for k in range(steps)]
        self.levels = (*between, 1.0)
        self.history, self.process, self.draws = history, process, draws
        self.condition_dropout = condition_dropout

    @property
    def kind(self) -> str:
        """A law of states."""
        return KIND

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The law of the next state."""
        return TransitionLaw(_transformer(model), self.path, self.levels, self.history, source)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """One pass of the trunk over one transition a row, or over all of them.

        Raises:
            IncompatibleError: the network is another.
        """
        network, draw = _transformer(model), Draw.like(batch.x1, step.generator)
        cond = drop(batch.cond, self.condition_dropout, len(_tensor(batch.x1)), step.generator)
        told, wanted = (self._whole if self.history else self._one)(network, batch, cond, draw)
        told, wanted = (rows.repeat(self.draws, 1, 1) for rows in (told, wanted))
        y0, s = draw.normal(wanted.shape), draw.uniform(wanted.shape[:2])
        error = network.head(y0 + s[..., None] * (wanted - y0), s, told) - (wanted - y0)
        return Loss(error.square().mean())

    def _one(
        self, network: TransitionTransformer, batch: Batch, cond: Cond, draw: Draw
    ) -> tuple[Tensor, Tensor]:
        """What is told of every token of the next state, and those tokens, at one level a row."""
        x1 = _tensor(batch.x1)
        levels = x1.new_tensor(self.levels)
        k = draw.integers(len(self.levels) - 1, (len(x1),))
        before = network.patches.cut(self._state(batch, levels[k]))
        after = network.patches.cut(self._state(self._anew(batch, draw), levels[k + 1]))
        n = network.patches.count
        sequence = torch.cat([before, after[:, :-1]], 1)
        return network.features(sequence, levels[k], cond, prefix=n)[:, n - 1 :], after

    def _whole(
        self, network: TransitionTransformer, batch: Batch, cond: Cond, draw: Draw
    ) -> tuple[Tensor, Tensor]:
        """The same of all levels but the first, one after the other."""
        x1 = _tensor(batch.x1)
        states = [
            network.patches.cut(
                self._state(self._anew(batch, draw) if k else batch, x1.new_full((len(x1),), level))
            )
            for k, level in enumerate(self.levels)
        ]
        sequence, n = torch.cat(states, 1), network.patches.count
        told = network.features(sequence[:, :-1], x1.new_zeros(len(x1)), cond)
        return told[:, n - 1 :], sequence[:, n:]

    def _state(self, batch: Batch, t: Tensor) -> Tensor:
        return _tensor(batch.point(self.path, t).x_t)

    def _anew(self, batch: Batch, draw: Draw) -> Batch:
        """The batch with other noise, where every level has its own."""
        if self.process == "linear":
            return batch
        return replace(batch, x0=draw.normal(_tensor(batch.x0).shape))

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Noise that is not standard, couplings, networks that do not read so many states."""
        yield from dropout_clashes(self.condition_dropout, parts)
        source, coupling, model = parts.get("source"), parts.get("coupling"), parts.get("model")
        if isinstance(source, Source) and not (source.gaussian and source.std == 1):
            yield Clash("objective", "source", "every state has fresh N(0, I) noise; use source: gaussian")
        if isinstance(coupling, Coupling) and not isinstance(coupling, Independent):
            yield Clash(
                "objective",
                "coupling",
                "every state has fresh noise, so nothing is there to pair; use coupling: independent, not "
                f"{type(coupling).__name__}",
            )
        needed = len(self.levels) if self.history else 2
        if isinstance(model, TransitionTransformer) and model.states < needed:
            yield Clash(
                "objective",
                "model",
                f"a sequence has {needed} states here, and the network reads {model.states}; set states: "
                f"{needed}",
            )


def _transformer(model: nn.Module) -> TransitionTransformer:
    if not isinstance(model, TransitionTransformer):
        raise IncompatibleError(
            "autoregressive-transitions trains a network that reads states token by token (model: "
            f"transition-transformer), and {type(model).__name__} is none"
        )
    return model


def _tensor(x: State) -> Tensor:
    assert isinstance(x, Tensor)
    return x
