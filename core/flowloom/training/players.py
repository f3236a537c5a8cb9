"""The players of a step: each turn of an objective with the optimisers that move its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from flowloom.digits import are_digits
from flowloom.errors import IncompatibleError, RunError
from flowloom.objectives import Turn
from flowloom.training.combiners import Combiner, Sum
from flowloom.training.config import TrainConfig, TurnConfig
from flowloom.training.decays import Constant, Decay
from flowloom.training.optimizers import AdamW
from flowloom.training.parallel.world import in_shares, whole
from flowloom.training.scaling import Scaling


class Player:
    """One turn with its optimisers, its learning rate and its gradients.

    Args:
        turn: whose move it is.
        config: of the training.
        device: where it moves.
    """

    def __init__(self, turn: Turn, config: TrainConfig, device: torch.device) -> None:
        own = config.turns.get(turn.name, TurnConfig())
        self.turn = turn
        self.parameters: list[nn.Parameter] = list(turn.parameters.values())
        self.lr = config.lr if own.lr is None else own.lr
        self.decay: Decay = own.decay or config.decay or Constant()
        self.clip = config.clip if own.clip is None else own.clip
        self.combiner: Combiner = config.combine or Sum()
        self.scaling = Scaling(device, config.precision == "fp16")
        factors = [_factor(name, config.rates) for name in turn.parameters]
        self.optimizers = (own.optimizer or config.optimizer or AdamW()).build(self._groups(factors))
        # Checkpoints count parameters as if none lay in shares, so that they are read with and without.
        whole_groups = sorted(range(len(factors)), key=lambda i: factors.index(factors[i]))
        place = {id(self.parameters[i]): place for place, i in enumerate(whole_groups)}
        self._saved = [
            _ranks([place[id(p)] for group in optimizer.param_groups for p in group["params"]])
            for optimizer in self.optimizers
        ]

    def _groups(self, factors: Sequence[float]) -> list[dict[str, object]]:
        # Fused kernels take no sharded parameters beside others.
        by_factor: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for parameter, factor in zip(self.parameters, factors, strict=True):
            by_factor.setdefault((factor, in_shares(parameter)), []).append(parameter)
        return [{"params": ps, "lr": self.lr * f, "factor": f} for (f, _), ps in by_factor.items()]

    @property
    def linear(self) -> bool:
        """Whether its gradient is linear in those of its losses."""
        return self.combiner.linear

    def backward(
        self, total: Tensor | Mapping[str, Tensor], share: float, *, everywhere: bool = False
    ) -> Tensor:
        """Add ``share`` of the gradient to this player's parameters, and to nobody else's.

        Args:
            total: the loss, or several by name.
            share: of the gradient.
            everywhere: add it to whatever it reaches; sharded parameters are no leaves that one could name.

        Returns:
            The loss as one detached scalar.
        """
        if not isinstance(total, Tensor) and (everywhere or self.scaling.scaler is not None) and self.linear:
            total = self.combiner.total(total)
        if isinstance(total, Tensor):
            loss = self.scaling.scaled(total if share == 1 else total * share)
            loss.backward(inputs=None if everywhere else self.parameters)
            return total.detach()
        losses = total if share == 1 else {name: loss * share for name, loss in total.items()}
        return self.combiner.backward(losses, list(self.parameters)) / share

    def zero_grad(self) -> None:
        """Forget gradients."""
        for p in self.parameters:
            p.grad = None

    def clipped(self) -> Tensor | None:
        """Clip the gradient and return its norm; None where this player does not clip."""
        self.scaling.unscale(self.optimizers)
        if not self.clip:
            return None
        shares = [p for p in self.parameters if in_shares(p)]
        rest = [p for p in self.parameters if not in_shares(p)]
        if not shares:
            return nn.utils.clip_grad_norm_(rest, self.clip)
        grads = ([p.grad for p in ps if p.grad is not None] for ps in (shares, rest))
        norm = torch.stack([whole(nn.utils.get_total_norm(g)) for g in grads if g]).norm()
        for some in (shares, rest):
            nn.utils.clip_grads_with_norm_(some, self.clip, norm)
        return norm

    def move(self, rate: float) -> bool:
        """Take the optimisers' step at the learning rate of now; False where float16 overflowed, and none was
        taken."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
        return self.scaling.step(self.optimizers)

    def rate(self, step: int, of: int) -> float:
        """The learning rate of ``step``, before factors by name."""
        return self.lr * self.decay(step, of)

    def owners(self) -> dict[str, nn.Parameter]:
        """The parameter that each optimiser's state belongs to, by ``optimiser.parameter``."""
        return {
            f"{k}.{self._saved[k][i]}": p
            for k, optimizer in enumerate(self.optimizers)
            for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"])
        }

    def state(self) -> dict[str, Tensor]:
        """What the optimisers remember, by ``optimiser.parameter.name``."""
        return {
            f"{k}.{self._saved[k][index]}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
            for k, optimizer in enumerate(self.optimizers)
            for index, entry in optimizer.state_dict()["state"].items()
            for name, value in entry.items()
            if value is not None
        } | self.scaling.state()

    def restore(self, tensors: Mapping[str, Tensor], origin: object) -> None:
        """Take up what `state` gave.

        Raises:
            RunError: it belongs to other parameters.
        """
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self.optimizers]
        sizes = [[p for g in o.param_groups for p in g["params"]] for o in self.optimizers]
        self.scaling.restore(tensors, origin)
        for key, value in tensors.items():
            if key.startswith("scaling."):
                continue
            which, index, name = (*key.split(".", 2), "", "")[:3]
            own = sizes[int(which)] if are_digits(which) and int(which) < len(sizes) else []
            known = are_digits(index) and int(index) < len(own)
            at = self._saved[int(which)].index(int(index)) if known else 0
            # Moments have the shape of their parameter; counters have none.
            if not known or (value.ndim and value.shape != own[at].shape):
                raise RunError(
                    f"{origin} does not fit the optimiser of turn '{self.turn.name}': "
                    f"its state '{key}' belongs to another model"
                )
            states[int(which)].setdefault(at, {})[name] = value
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(
                {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
            )


def _factor(name: str, rates: Mapping[str, float]) -> float:
    """Of the learning rate of a parameter; the last pattern that fits counts."""
    fitting = [factor for pattern, factor in rates.items() if fnmatchcase(name, pattern)]
    return fitting[-1] if fitting else 1.0


def _ranks(places: Sequence[int]) -> list[int]:
    order = sorted(places)
    return [order.index(place) for place in places]


def players_of(
    turns: Sequence[Turn],
    trainable: Mapping[str, nn.Parameter],
    config: TrainConfig,
    device: torch.device,
) -> list[Player]:
    """A player for every turn, checked.

    Raises:
        IncompatibleError: nothing would be trained, a turn moves what is frozen or not the flow's, or
        settings
            name a turn or a parameter that there is not.
    """
    names = [turn.name for turn in turns]
    if len(set(names)) < len(names):
        raise IncompatibleError(f"the objective's turns share a name: {', '.join(names)}")
    for name in config.turns:
        if name not in names:
            raise IncompatibleError(
                f"train.turns names '{name}'; the objective's turns are: {', '.join(names)}"
            )
    known = {id(p) for p in trainable.values()}
    for turn in turns:
        if not turn.parameters:
            raise IncompatibleError(
                f"turn '{turn.name}' has no parameters to train; a run without training has train.steps: 0"
            )
        for name, parameter in turn.parameters.items():
            if id(parameter) not in known:
                raise IncompatibleError(f"turn '{turn.name}' moves {name}, which is frozen or not the flow's")
    for pattern in config.rates:
        if not any(fnmatchcase(name, pattern) for turn in turns for name in turn.parameters):
            raise IncompatibleError(
                f"train.rates: no parameter's name fits '{pattern}'; one is {_one(turns)}"
            )
    return [Player(turn, config, device) for turn in turns]


def _one(turns: Sequence[Turn]) -> str:
    return next((name for turn in turns for name in turn.parameters), "none")
