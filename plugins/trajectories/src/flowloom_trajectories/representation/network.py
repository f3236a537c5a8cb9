"""A generator that is told what an encoder makes of a clean example."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.data import Dataset
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.models.sizes import require_sizes
from flowloom.spec import Condition, Spec
from flowloom.state import State, Time
from flowloom_trajectories.models.steps import Steps
from flowloom_trajectories.models.unet import TemporalUNet
from flowloom_trajectories.representation.encoders import PcaEncoder, WindowEncoder

__all__ = ["Represented"]


class Represented(nn.Module):
    r"""FlowFM (2512.19729): an encoder E and a conditional generator, :math:`f(x_t, t, h)` with h = E(x_1).

    E sees the clean example that view ``itself`` tells, and never the noised state; gradients of the loss
    reach both. h is a few numbers, so that it must hold what is worth knowing of the window and
    :math:`x_t` the rest. Where the example is withheld the generator gets a learned vector in place of h.

    Args:
        spec: of the states ``(steps, channels)``, with the condition.
        dim: numbers of h.
        widths: channels of the encoder's convolutions.
        encoder: ``convolutions``, or ``pca``, which is fitted and not trained.
        width: channels of the generator's first scale.
        multipliers: of the generator, see `TemporalUNet`.
        kernel: of the generator's convolutions.
        example: name of the condition.

    Raises:
        IncompatibleError: states are something else, or nothing shows an example.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        dim: int = 16,
        widths: tuple[int, ...] = (32, 64, 64),
        encoder: Literal["convolutions", "pca"] = "convolutions",
        width: int = 24,
        multipliers: tuple[int, ...] = (1, 2, 2),
        kernel: int = 5,
        example: str = "example",
    ) -> None:
        super().__init__()
        require_sizes(dim=dim)
        form, told = Steps(spec, "represented"), dict(spec.conditions)
        if example not in told or tuple(told.pop(example).shape) != tuple(spec.shape):
            raise IncompatibleError(
                f"represented encodes the condition '{example}', a clean state; add view: itself"
            )
        if "representation" in told:
            raise IncompatibleError(
                "represented calls what it makes 'representation', and that is there already"
            )
        self.spec, self.example, self.dim = spec, example, dim
        self.encoder: WindowEncoder | PcaEncoder = (
            WindowEncoder(form.channels, dim, widths)
            if encoder == "convolutions"
            else PcaEncoder(form.steps * form.channels, dim)
        )
        inner = replace(spec, conditions={**told, "representation": Condition(shape=(dim,))})
        self.generator = TemporalUNet(inner, width, multipliers, kernel)

    def encode(self, x: Tensor) -> Tensor:
        """Clean windows ``(batch, steps, channels)`` to h, ``(batch, dim)``."""
        answer: Tensor = self.encoder(x)
        return answer

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Fit an encoder that is not trained."""
        if isinstance(self.encoder, PcaEncoder):
            if data is None:
                raise DataError("encoder: pca looks at data, and this recipe has none")
            self.encoder.fit(data)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """Read a state at a time; see `flowloom.models.Model`."""
        own = (self.example, f"null_{self.example}")
        told = {name: value for name, value in cond.items() if name not in own}
        if cond.get(self.example) is not None:
            told["representation"] = self.encode(
                cond[self.example].to(next(self.generator.parameters()).dtype)
            )
        if own[1] in cond:
            told["null_representation"] = cond[own[1]]
        answer: State = self.generator(x, t, **told)
        return answer
