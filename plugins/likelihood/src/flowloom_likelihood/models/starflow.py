"""STARFlow and TARFlow: stacks of autoregressive blocks, each a causal transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from flowloom.errors import IncompatibleError, ShapeError
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_likelihood.bijections.autoregressive import Autoregressive, GuidedNet
from flowloom_likelihood.bijections.base import Bijection, Chain, Image
from flowloom_likelihood.bijections.causal_net import CausalNet, Positions, Scale
from flowloom_likelihood.bijections.tokens import Tokens

Told = Literal["deep", "all", "none"]


class StarFlow(Bijection):
    """Autoregressive blocks that take tokens in alternating order, shallow by the data and deep by the noise.

    The last block makes the tokens first when sampling; it is the deep one, and is told the conditions as
    tokens before the others (STARFlow, 2506.06276, section 3). Latents end as patches in the shape of the
    state, standard normal.

    Args:
        spec: images or maps of latents ``(C, H, W)``, or tokens ``(T, c)``; injected from the recipe.
        patch: side of a patch; its ``C patch^2`` numbers are a token.
        layers: transformer blocks of every autoregressive block, from data to noise.
        width: of the transformers.
        heads: of their attention.
        told: which blocks know the conditions: the ``deep`` one, ``all`` or ``none``.
        prefix: see `CausalNet`.
        start: see `CausalNet`.
        positions: see `CausalNet`.
        scale: see `CausalNet`.
        clip: see `CausalNet`.
        norm: see `CausalNet`.

    Raises:
        ShapeError: the states are no such maps or tokens.
    """

    net: Chain

    def __init__(
        self,
        spec: Spec,
        patch: int = 1,
        layers: Sequence[int] = (2, 2, 2, 2, 2, 18),
        width: int = 2048,
        heads: int = 32,
        told: Told = "deep",
        prefix: bool = True,
        start: bool = True,
        positions: Positions = "rotary",
        scale: Scale = "softplus",
        clip: float = 4.0,
        norm: bool = True,
    ) -> None:
        super().__init__()
        if spec.discrete or spec.parts or len(spec.shape) not in (2, 3):
            raise ShapeError(
                f"starflow takes real-valued maps (C, H, W) or tokens (T, c), and states are of shape "
                f"{spec.shape}"
            )
        require_sizes(patch=patch)
        image = len(spec.shape) == 3
        if image and any(side % patch for side in spec.shape[1:]):
            raise ShapeError(f"starflow takes sides divisible by patch {patch}, got {spec.shape}")
        if not image and patch != 1:
            raise ShapeError("tokens (T, c) are taken as they are; set patch: 1")
        if not layers or min(layers) < 1:
            raise ValueError(f"layers counts transformer blocks of every block from 1, got {list(layers)}")
        if told not in ("deep", "all", "none"):
            raise ValueError(f"told is deep, all or none, got {told!r}")
        self.spec, self.conditional = spec, told != "none"
        grid = (spec.shape[1] // patch, spec.shape[2] // patch) if image else (1, spec.shape[0])
        channels = spec.shape[0] * patch**2 if image else spec.shape[1]

        def block(number: int, depth: int) -> Autoregressive:
            knows = told == "all" or (told == "deep" and number == len(layers) - 1)
            net = CausalNet(
                grid,
                channels,
                width,
                depth,
                heads,
                spec.conditions if knows else None,
                prefix,
                start,
                positions,
                scale,
                clip,
                norm,
            )
            return Autoregressive(net, flip=(len(layers) - 1 - number) % 2 == 1)

        blocks: list[Bijection] = [block(number, depth) for number, depth in enumerate(layers)]
        self.cut = image
        ends = ([Tokens(grid, patch)], [Tokens(grid, patch, undo=True)]) if image else ([], [])
        self.net = Chain([*ends[0], *blocks, *ends[1]])

    @property
    def rounds(self) -> int:  # type: ignore[override]
        """Tokens, in every block."""
        return self.net.rounds

    @property
    def blocks(self) -> list[Autoregressive]:
        """The autoregressive blocks, from data to noise."""
        return [link for link in self.net.links if isinstance(link, Autoregressive)]

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """States to latents of the same shape."""
        return self.net.transform(x, cond)

    def trace(self, x: Tensor, cond: Cond) -> tuple[list[Tensor], Tensor]:
        """Tokens before the first block and after every one, from data to noise, and ``log |det|``."""
        found, total = [] if self.cut else [x], x.new_zeros(len(x))
        for reached, log_det in self.net.trace(x, cond):
            found.append(reached)
            total = total + log_det
        return found[:-1] if self.cut else found, total

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Latents to states, token by token in every block."""
        return self.net.inverse(z, cond)

    def guided(self, weight: float) -> Bijection:
        """The same weights, whose told blocks answer with the guided law of tokens; see `GuidedNet`.

        Raises:
            IncompatibleError: no block is told anything.
        """
        told = [isinstance(b.net, CausalNet) and b.net.told is not None for b in self.blocks]
        if not any(told):
            raise IncompatibleError("there is nothing to guide by: the data have no conditions")

        def link(one: Bijection) -> Bijection:
            if (
                isinstance(one, Autoregressive)
                and isinstance(one.net, CausalNet)
                and one.net.told is not None
            ):
                return Autoregressive(GuidedNet(one.net, weight), one.flip)
            return one

        return Chain([link(one) for one in self.net.links if isinstance(one, Bijection)])


class TarFlow(StarFlow):
    """Equal autoregressive blocks, all of which are told the conditions (TARFlow, 2412.06329).

    Conditions are added to every token, positions are learned, the first token of a block stays as it is,
    and scales are exponentials without a bound.

    Args:
        spec: see `StarFlow`.
        patch: see `StarFlow`.
        blocks: autoregressive blocks.
        depth: transformer blocks of each.
        width: of the transformers.
        heads: of their attention.
    """

    def __init__(
        self, spec: Spec, patch: int = 4, blocks: int = 8, depth: int = 8, width: int = 1024, heads: int = 16
    ) -> None:
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {blocks}")
        super().__init__(
            spec,
            patch,
            (depth,) * blocks,
            width,
            heads,
            told="all",
            prefix=False,
            start=False,
            positions="learned",
            scale="exp",
            clip=0.0,
            norm=False,
        )
