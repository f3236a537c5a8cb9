"""EDM's preconditioning: a denoiser around any network, and the weight that evens out its loss."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import Model, speak_for
from flowloom.objectives import Objective, PointObjective
from flowloom.paths import Path
from flowloom.spec import Spec
from flowloom.state import expand
from flowloom.weights import Weight

_LOWEST = 0.002


def _lowest(path: Path | None) -> float:
    """The last noise level, below which nothing is asked."""
    lowest = _LOWEST if path is None else min(path.span)
    if lowest <= 0:
        raise IncompatibleError(
            f"EDM's coefficients need positive noise levels, and {type(path).__name__} runs from {lowest:g}; "
            "use path: noise-levels"
        )
    return lowest


class Preconditioned(nn.Module):
    r"""A denoiser around any network F, whose input, output and target have unit variance at every level.

    .. math:: D(x, \sigma) = c_{skip}\, x + c_{out}\, F(c_{in}\, x, c_{noise}),

    with :math:`c_{skip} = s^2/(\sigma^2 + s^2)`, :math:`c_{out} = \sigma s/\sqrt{\sigma^2 + s^2}`,
    :math:`c_{in} = 1/\sqrt{\sigma^2 + s^2}`, :math:`c_{noise} = \tfrac14\ln\sigma` and s the standard
    deviation of the data (2206.00364, table 1; PFGM++ takes them as they are, 2302.04265, section 4). F sees
    times of order 1, and nothing of sigma else. The objective must predict ``data``.

    Args:
        spec: of the states, one real tensor; injected from the recipe.
        network: F, any network.
        data_std: s.
        path: of noise levels; the network is not asked below the last of them. Injected from the recipe.

    Raises:
        IncompatibleError: states are tokens or have parts, or the path has times that are no noise levels.
    """

    def __init__(self, spec: Spec, network: Model, data_std: float = 0.5, path: Path | None = None) -> None:
        super().__init__()
        assert isinstance(network, nn.Module)
        if spec.parts or spec.vocab is not None:
            raise IncompatibleError("preconditioned denoises states of one real tensor, not tokens or parts")
        if data_std <= 0:
            raise ValueError(f"data_std must be positive, got {data_std}")
        self.spec, self.network, self.data_std, self.lowest = spec, network, data_std, _lowest(path)
        speak_for(self, network)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """The data expected behind states ``x`` at noise levels ``t``: ``(batch, *event)``."""
        sigma, std = t.clamp_min(self.lowest), self.data_std
        level = expand(sigma.to(x.dtype), x)
        total = torch.sqrt(level.square() + std**2)
        answer: Tensor = self.network(x / total, sigma.log() / 4, **cond)
        clean = (std / total).square() * x + (level * std / total) * answer
        layout = Layout.of(self.spec, cond)
        return clean if layout is None else layout.zero(clean)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An objective that does not train a denoiser, or weighs it for data of another deviation."""
        objective = parts.get("objective")
        if not isinstance(objective, Objective):
            return
        if objective.kind != "data":
            yield Clash("model", "objective", "preconditioned is a denoiser; set objective.predict: data")
        weight = objective.weight if isinstance(objective, PointObjective) else None
        if isinstance(weight, EDMWeight) and not math.isclose(weight.data_std, self.data_std):
            yield Clash(
                "model",
                "objective",
                f"the network is scaled for data of deviation {self.data_std:g}, and the weight for "
                f"{weight.data_std:g}; give both the same data_std",
            )


class EDMWeight(Weight):
    r""":math:`(\sigma^2 + s^2)/(\sigma s)^2` on the squared error of data (2206.00364, table 1).

    It is :math:`1/c_{out}^2`: the network inside `Preconditioned` has the same loss at every level.

    Args:
        data_std: s, the standard deviation of the data; the same as the network's.
        path: of noise levels; below the last of them the weight stays. Injected from the recipe.

    Raises:
        IncompatibleError: the path has times that are no noise levels.
    """

    def __init__(self, data_std: float = 0.5, path: Path | None = None) -> None:
        if data_std <= 0:
            raise ValueError(f"data_std must be positive, got {data_std}")
        self.data_std, self.lowest = data_std, _lowest(path)

    def __call__(self, t: Tensor) -> Tensor:
        """Weights in the shape of ``t``."""
        return t.clamp_min(self.lowest).pow(-2) + self.data_std**-2
