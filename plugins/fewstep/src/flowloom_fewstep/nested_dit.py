"""A large transformer that reads a state once, and a small head that flows through velocities of a token."""

from __future__ import annotations

from torch import Tensor

from flowloom.spec import Spec
from flowloom.state import Cond, Time
from flowloom_fewstep.flow_head import FlowHead
from flowloom_fewstep.nested_mlp import NestedModel
from flowloom_fewstep.patches import Patches
from flowloom_fewstep.plane_angles import plane_angles
from flowloom_fewstep.steered_trunk import SteeredTrunk

__all__ = ["NestedDiT"]


class NestedDiT(NestedModel):
    """The backbone and flow head of difference transition matching (Shaul et al. 2506.23589).

    The trunk is a transformer. In place of its last layer a perceptron with adaptive norms draws the velocity
    of every token by itself, told the token's features and the inner time; see `SteeredTrunk` and `FlowHead`.
    The defaults, on 32 x 32 x 4 latents with 4,096 text features, are the paper's: 24 blocks of width 2,048
    and 16 heads, patches of 2, a head of 6 layers of width 1,024. Positions are rotary, of two dimensions,
    where the paper has an embedding of three; neither is counted.

    Args:
        spec: of the data: images, or sequences ``(places, channels)``, of real values.
        width: of the trunk's tokens.
        depth: blocks of the trunk.
        heads: of its attention.
        patch: width of a patch in pixels (places of a sequence), which is a token.
        text: condition of shape ``(tokens, features)`` that blocks attend to; None for none. Where it is
            withheld there are zeros in its place. Other conditions are added to the time.
        head_width: of the head.
        head_depth: layers of the head.

    Raises:
        IncompatibleError: the data have another form, the patch does not divide them, or the text is missing.
        ValueError: heads do not divide the width into multiples of 4.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 2048,
        depth: int = 24,
        heads: int = 16,
        patch: int = 2,
        text: str | None = "text",
        head_width: int = 1024,
        head_depth: int = 6,
    ) -> None:
        super().__init__()
        self.spec, self.patches = spec, Patches(spec, patch, "nested-dit")
        entries = self.patches.entries
        self.trunk = SteeredTrunk(spec, entries, width, depth, heads, text, "nested-dit")
        self.flow = FlowHead(entries, width, head_width, head_depth)

    @property
    def tokens(self) -> int:
        """How many of a state have inner times of their own."""
        return self.patches.count

    def features(self, x: Tensor, t: Time, cond: Cond) -> Tensor:
        """What the head is told of states: ``(batch, tokens, width)``."""
        assert isinstance(t, Tensor)
        angles = plane_angles(self.patches.grid, self.trunk.turned, x)
        features: Tensor = self.trunk(self.patches.cut(x), t, cond, angles)
        return features

    def head(self, y: Tensor, tau: Tensor, features: Tensor) -> Tensor:
        """The inner velocity of every token by itself, in the shape of ``y``."""
        return self.patches.join(self.flow(self.patches.cut(y), tau, features))

    def spread(self, tau: Tensor, y: Tensor) -> Tensor:
        """Times of tokens at all of their entries."""
        return self.patches.spread(tau)
