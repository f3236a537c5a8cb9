"""Fine-tune a copy of a generator along a direction of a joint embedding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.fields.base import time_tensor
from flowloom.objectives import Batch, FlowMatching, Loss, Step, Turn
from flowloom.paths import Path
from flowloom.state import Cond
from flowloom.trained import Trained
from flowloom_alignment.nada.frozen_layers import moving_most
from flowloom_alignment.nada.joint_encoder import TellsBoth
from flowloom_alignment.references import misread

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["Directional"]


class Directional(FlowMatching):
    r"""Move every sample as a text says (StyleGAN-NADA, Gal et al. 2108.00946).

    G is the flow by a few Euler steps, under gradient; :math:`G_0` the same of the frozen flow from the same
    noise z. With :math:`\Delta T = E_T(after) - E_T(before)`, both means over prompts, and
    :math:`\Delta I = E_I(G(z)) - E_I(G_0(z))`,

    .. math:: L = 1 - \frac{\langle \Delta I, \Delta T\rangle}{\|\Delta I\| \|\Delta T\|} ,

    a mean over the batch and over the encoders. A direction for every z keeps samples apart; the ``global``
    loss :math:`1 - \cos(E_I(G(z)), E_T(after))`, which the paper compares with, draws all of them to one
    image. No image of the new domain is seen; data rows are not looked at.

    With ``freeze`` a share of the layers stays as it is in every step: those that the global loss would move
    least (`moving_most`).

    Args:
        encoder: E, a frozen run of a network that embeds images and texts.
        reference: the frozen flow.
        before: prompts of the old domain.
        after: prompts of the new one.
        path: injected from the recipe.
        steps: of Euler; sample with as many.
        compare: the loss.
        freeze: share of layers that a step leaves alone; the paper's is a third for changes of shape, else 0.
        probes: codes by which layers are ranked.
        more: further encoders, of an ensemble.

    Raises:
        IncompatibleError: a run given as encoder embeds no texts.
    """

    def __init__(
        self,
        encoder: Trained,
        reference: Trained,
        before: Sequence[str],
        after: Sequence[str],
        path: Path | None = None,
        steps: int = 4,
        compare: Literal["directional", "global"] = "directional",
        freeze: float = 0.0,
        probes: int = 8,
        more: Sequence[Trained] = (),
    ) -> None:
        super().__init__(path)
        if steps < 1 or probes < 1 or not 0 <= freeze < 1 or not before or not after:
            raise ValueError(
                "steps and probes count from 1, freeze is a share in [0, 1), and both domains have prompts"
            )
        self.encoders, self.reference = nn.ModuleList([encoder, *more]), reference
        self.before, self.after = tuple(before), tuple(after)
        self.steps, self.compared, self.freeze, self.probes = steps, compare, freeze, probes
        for one in (encoder, *more):
            if not isinstance(one.flow.model, TellsBoth):
                name = type(one.flow.model).__name__
                raise IncompatibleError(
                    f"the encoder embeds images and texts in one space, and the run given trained {name}; "
                    "take one of model: joint-encoder"
                )

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """One turn; every encoder must know the prompts, and tell the domains apart.

        Raises:
            DataError: an encoder does not know a word.
            IncompatibleError: both domains are the same to it, so that there is no direction.
        """
        for one in self.encoders:
            old, new = self._texts(one)
            if float((new - old).norm()) <= 1e-6:
                raise IncompatibleError(
                    f"directional moves samples from before to after, and to the encoder {list(self.before)} "
                    f"and {list(self.after)} are the same"
                )
        return super().turns(flow)

    @torch.no_grad()
    def _texts(self, encoder: nn.Module) -> tuple[Tensor, Tensor]:
        """Mean embeddings of the prompts of either domain."""
        assert isinstance(encoder, Trained)
        model = encoder.flow.model
        assert isinstance(model, TellsBoth)
        return model.texts(self.before).mean(0), model.texts(self.after).mean(0)

    def generated(self, field: Field, z: Tensor, cond: Cond) -> Tensor:
        """Where Euler steps lead from z, under gradient."""
        first, last = field.span
        x, dt = z, (last - first) / self.steps
        for k in range(self.steps):
            velocity = field(x, time_tensor(first + k * dt, x), cond)
            assert isinstance(velocity, Tensor)
            x = x + dt * velocity
        return x

    def towards(self, made: Tensor, was: Tensor | None) -> Tensor:
        """The loss of every row ``(n,)``, of the global kind where there is nothing that it was."""
        found = []
        for one in self.encoders:
            assert isinstance(one, Trained)
            encoder = one.flow.model
            assert isinstance(encoder, TellsBoth)
            seen, (old, new) = encoder.images(made), self._texts(one)
            with torch.no_grad():
                looked = None if was is None else encoder.images(was)
            if looked is None:
                found.append(1 - F.cosine_similarity(seen, new[None]))
            else:
                found.append(1 - F.cosine_similarity(seen - looked, (new - old)[None]))
        return torch.stack(found).mean(0)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Both generators from the same noise."""
        z, cond = batch.x0, batch.cond
        assert isinstance(z, Tensor)
        network = model
        if self.freeze:
            few = {name: value[: self.probes] for name, value in cond.items()}

            def probe(asked: nn.Module) -> Tensor:
                made = self.generated(self.field(asked), z[: self.probes], few)
                return self.towards(made, None).mean()

            network = moving_most(model, probe, 1 - self.freeze)
        made = self.generated(self.field(network), z, cond)
        if self.compared == "global":
            return Loss(self.towards(made, None).mean())
        with torch.no_grad():
            was = self.generated(self.field(self.reference), z, cond)
        return Loss(self.towards(made, was).mean(), {"moved": (made.detach() - was).square().mean().sqrt()})

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A codec, through which the encoder would have to look; states of parts; another reference."""
        yield from super().clashes(parts)
        yield from misread(self.reference, self)
        if parts.get("codec") is not None:
            yield Clash(
                "objective", "codec", "directional shows the encoder states as they are; leave codec out"
            )
        if getattr(parts.get("spec"), "parts", None):
            yield Clash("objective", "data", "directional moves images of one tensor, and states have parts")
