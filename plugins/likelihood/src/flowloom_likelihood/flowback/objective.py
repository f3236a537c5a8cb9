"""Exact likelihood, and features of the flow aligned with those of a frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from flowloom.errors import IncompatibleError
from flowloom.models.sizes import require_sizes
from flowloom.objectives import Batch, Loss, Step, Turn
from flowloom.paths import Path
from flowloom.state import Cond
from flowloom.trained import Trained
from flowloom_likelihood.bijections.autoregressive import Autoregressive
from flowloom_likelihood.bijections.causal_net import CausalNet
from flowloom_likelihood.flowback.encoder import patch_features
from flowloom_likelihood.models.starflow import StarFlow
from flowloom_likelihood.starflow.objective import NoisyLikelihood, autoregressive

if TYPE_CHECKING:
    from flowloom.flow import Flow

Direction = Literal["reverse", "forward", "detached"]


class AlignedLikelihood(NoisyLikelihood):
    r"""Likelihood of noisy states, with representation alignment of a flow's blocks (Chen et al. 2511.22345).

    .. math:: L = L_{NLL} - \lambda \frac{1}{|A|} \sum_{t \in A} \frac1P \sum_p
              \cos\big(\Phi(x)_p, \mathrm{Proj}(h^{(t)}_p)\big)

    with h the features of a layer of block t at the tokens that block reads, and :math:`\Phi` a frozen
    encoder of the clean image. The numbers are the same in all three directions, and the graphs are not:

    * ``reverse`` (R-REPA, the method): tokens are made again from the detached noise, block by block as in
      sampling, so that the gradient reaches blocks from the noise down to t, and none on the side of the
      data. Every block reads its context from the forward pass (detached), which makes all tokens at once.
    * ``forward`` (F-REPA): the graph of the likelihood, whose gradient reaches the blocks from the data to t.
    * ``detached`` (D-REPA): the tokens are constants, and the gradient reaches block t alone.

    Weights, projector and layers of small networks are our reading: the text of the paper was not at hand.
    Logs ``bits_per_dim`` and ``alignment``, the mean cosine.

    Args:
        path: of the recipe; see `NoisyLikelihood`.
        encoder: Phi, trained before; it sees the states as they are before noise.
        module: of the encoder, see `patch_features`.
        dim: of its features.
        width: of the flow's transformers.
        blocks: t, from 0 at the data; negative ones count from the noise.
        layer: transformer blocks of t before h.
        hidden: width of the projector, three linear layers with SiLU between.
        strength: lambda; 0 is `NoisyLikelihood`.
        direction: of the graph in which the features are computed: ``reverse``, ``forward`` or ``detached``.
        noise: see `NoisyLikelihood`.
        norm_penalty: see `NoisyLikelihood`.
        condition_dropout: see `NoisyLikelihood`.
    """

    def __init__(
        self,
        path: Path,
        encoder: Trained,
        module: str,
        dim: int,
        width: int,
        blocks: Sequence[int] = (-2, -1),
        layer: int = 6,
        hidden: int = 2048,
        strength: float = 0.5,
        direction: Direction = "reverse",
        noise: float = 0.2,
        norm_penalty: float = 0.0,
        condition_dropout: float = 0.1,
    ) -> None:
        super().__init__(path, noise, norm_penalty, condition_dropout)
        require_sizes(dim=dim, width=width, layer=layer, hidden=hidden)
        if direction not in ("reverse", "forward", "detached"):
            raise ValueError(f"direction is reverse, forward or detached, got {direction!r}")
        if not blocks or strength < 0:
            raise ValueError("blocks names at least one block, and strength counts from 0")
        self.encoder, self.module, self.layer = encoder, module, layer
        self.dim, self.width = dim, width
        self.blocks, self.strength, self.direction = tuple(blocks), strength, direction
        self.project = nn.Sequential(
            nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, dim)
        )

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """One turn, of the flow and the projector.

        Raises:
            IncompatibleError: a block, layer or width is named that the flow lacks; see also
                `NoisyLikelihood.turns`.
        """
        self._chosen(autoregressive(flow.model))
        return super().turns(flow)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Likelihood and alignment of the same noisy states."""
        assert isinstance(batch.x1, Tensor)
        flow = autoregressive(model)
        x, cond = self.noisy(batch, step)
        likelihood, inside = self.descend(flow, x, cond)
        if self.strength == 0:
            return likelihood
        cosine = self.alignment(flow, batch.x1, inside, cond)
        total = likelihood.total - self.strength * cosine  # type: ignore[operator]
        return Loss(total, {**likelihood.parts, "alignment": cosine.detach()})

    def alignment(self, flow: StarFlow, clean: Tensor, inside: list[Tensor], cond: Cond) -> Tensor:
        """Mean cosine between the features of an encoder and those of the flow.

        Args:
            flow: the stack of blocks.
            clean: states without noise, that the encoder sees.
            inside: tokens before every block and after the last, as `StarFlow.trace` gives them.
            cond: conditions of the blocks.
        """
        chosen = self._chosen(flow)
        read = self.inputs(flow.blocks, inside, cond, min(chosen))
        wanted = patch_features(self.encoder, self.module, clean, flow.blocks[0].net.grid)
        if wanted.shape[-1] != self.dim:
            raise IncompatibleError(
                f"the encoder's features are of size {wanted.shape[-1]}, and objective.dim is {self.dim}"
            )
        total = clean.new_zeros(())
        for t in chosen:
            block = flow.blocks[t]
            assert isinstance(block.net, CausalNet)
            features = block.ordered(block.net.hidden(block.ordered(read[t]), cond, self.layer))
            total = total + cosine_similarity(self.project(features), wanted, dim=-1).mean()
        return total / len(chosen)

    def inputs(
        self, blocks: Sequence[Autoregressive], inside: list[Tensor], cond: Cond, first: int
    ) -> list[Tensor]:
        """What every block from ``first`` on reads: the same numbers in all directions, by other graphs."""
        known = [tokens.detach() for tokens in inside]
        if self.direction == "forward":
            return inside
        if self.direction == "detached":
            return known
        made = list(known)
        for t in range(len(blocks) - 1, first - 1, -1):
            made[t] = blocks[t].regenerate(made[t + 1], cond, known[t])
        return made

    def _chosen(self, flow: StarFlow) -> list[int]:
        count = len(flow.blocks)
        if any(not -count <= t < count for t in self.blocks):
            raise IncompatibleError(f"the flow has {count} blocks, and {list(self.blocks)} are to be aligned")
        chosen = [t % count for t in self.blocks]
        for t in chosen:
            net = flow.blocks[t].net
            assert isinstance(net, CausalNet)
            if len(net.blocks) < self.layer:
                raise IncompatibleError(f"block {t} has {len(net.blocks)} layers, fewer than {self.layer}")
            if net.out.in_features != self.width:
                raise IncompatibleError(
                    f"the flow's transformers have width {net.out.in_features}, and objective.width is "
                    f"{self.width}"
                )
        return chosen
