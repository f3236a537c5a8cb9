"""A conditional flow as the law of dequantisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import Cond, sum_event
from flowloom_likelihood.bijections import Chain, Image
from flowloom_likelihood.bijections.gated_net import GatedConv, StartedConv
from flowloom_likelihood.bijections.halves import halves
from flowloom_likelihood.bijections.mixture_coupling import CONTEXT
from flowloom_likelihood.dequantizers.base import Dequantizer
from flowloom_likelihood.field import normal_log_prob
from flowloom_likelihood.models.flow_plus_plus import coupled, require_images


class FlowDequantizer(Dequantizer):
    r"""Variational dequantisation: couplings of Flow++ that know the image, then a sigmoid.

    .. math:: u = \mathrm{sigmoid}(g_x(\epsilon)), \qquad \log q(u | x) = \log N(\epsilon; 0, I)
              - \log|\det \partial g_x / \partial\epsilon| - \sum \log u + \log(1 - u)

    (Ho et al., 1902.00275, section 3.1). The image is read once, by gated convolutions.

    Args:
        spec: images ``(C, H, W)`` of even width; injected from the recipe.
        couplings: of a checkerboard.
        filters: channels of their networks.
        blocks: of a network.
        components: of the mixtures; 0 for affine couplings.
        heads: of the attention; 0 for convolutions alone.
        context: channels of what is read from the image.
        dropout: probability.

    Raises:
        ShapeError: the states are no such images.
    """

    def __init__(
        self,
        spec: Spec,
        couplings: int = 4,
        filters: int = 96,
        blocks: int = 2,
        components: int = 32,
        heads: int = 4,
        context: int = 32,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        require_images(spec, "the dequantizer")
        require_sizes(couplings=couplings, context=context)
        self.spec = spec
        channels, height, width = spec.shape
        self.into = StartedConv(2 * channels, context, 3)
        self.reads = nn.ModuleList(GatedConv(context, side=3, dropout=dropout) for _ in range(3))
        shape = (channels, height, width)
        links = [
            link
            for number in range(couplings)
            for link in coupled(
                shape, "checkerboard", number % 2 == 1, filters, blocks, components, heads, dropout, context
            )
        ]
        self.net = Chain(links)

    def _told(self, x: Tensor, cond: Cond, initialise: bool = False) -> Cond:
        read = self.into.answer(torch.cat(halves(x, "checkerboard"), 1), initialise)
        for block in self.reads:
            read = block(read, None, initialise)
        return {**cond, CONTEXT: read}

    def place(self, noise: Tensor, x: Tensor, cond: Cond) -> Image:
        """Through the couplings, and the sigmoid."""
        logit, log_det = self.net.transform(noise, self._told(x, cond))
        squash = nn.functional.logsigmoid(logit) + nn.functional.logsigmoid(-logit)
        return logit.sigmoid(), normal_log_prob(noise) - log_det - sum_event(squash)

    @torch.no_grad()
    def initialise(self, noise: Tensor, x: Tensor, cond: Cond) -> None:
        """Every network on a first batch."""
        self.net.initialise(noise, self._told(x, cond, initialise=True))
