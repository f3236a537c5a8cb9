"""A transformer that reads states token by token, and a small head that draws the next token."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import Cond, State, Time
from flowloom_fewstep.flow_head import FlowHead
from flowloom_fewstep.patches import Patches
from flowloom_fewstep.plane_angles import plane_angles
from flowloom_fewstep.steered_trunk import Past, SteeredTrunk

__all__ = ["TransitionTransformer"]


class TransitionTransformer(nn.Module):
    """The causal backbone and flow head of ARTM and FHTM (Shaul et al. 2506.23589, section 2.2 and A.1).

    It reads the tokens of several states as one sequence. Those of a prefix see each other, each later one
    itself and those before it. What it says of a token is what the head is told of the *next* one. Positions
    within a state are rotary, of two dimensions; which state it is has an embedding. The defaults are the
    paper's on 32 x 32 x 4 latents with 4,096 text features.

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
        states: that a sequence may have: 2 for one transition at a time, T + 1 for a whole history.

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
        states: int = 4,
    ) -> None:
        super().__init__()
        require_sizes(states=states)
        self.spec, self.patches = spec, Patches(spec, patch, "transition-transformer")
        entries = self.patches.entries
        self.trunk = SteeredTrunk(spec, entries, width, depth, heads, text, "transition-transformer")
        self.flow = FlowHead(entries, width, head_width, head_depth)
        self.which = nn.Embedding(states, width)

    @property
    def states(self) -> int:
        """How many a sequence may have."""
        return self.which.num_embeddings

    def features(
        self, tokens: Tensor, t: Tensor, cond: Cond, *, prefix: int = 0, past: Past | None = None
    ) -> Tensor:
        """What the head is told of the token after every one of these, ``(batch, tokens, width)``.

        Args:
            tokens: the next of the sequence, ``(batch, tokens, entries)``.
            t: times that the trunk is told, ``(batch,)``.
            cond: conditions.
            prefix: how many of the first tokens of the sequence see each other.
            past: what was read before, which these join; None where they are the first.

        Raises:
            IncompatibleError: the sequence has more states than the network reads.
        """
        before, new, count = 0 if past is None else past.tokens, tokens.shape[1], self.patches.count
        if before + new > self.states * count:
            raise IncompatibleError(
                f"a sequence of {before + new} tokens has more than the {self.states} states of {count} "
                "tokens that transition-transformer reads; raise states"
            )
        place = torch.arange(before, before + new, device=tokens.device)
        cos, sin = plane_angles(self.patches.grid, self.trunk.turned, tokens)
        angles = cos[place % count], sin[place % count]
        every = torch.arange(before + new, device=tokens.device)
        seen = (every <= place[:, None]) | (every < prefix)
        which = self.which(place // count)
        features: Tensor = self.trunk(tokens, t, cond, angles, places=which, seen=seen, past=past)
        return features

    def head(self, y: Tensor, tau: Tensor, features: Tensor) -> Tensor:
        """The inner velocity of tokens ``(batch, tokens, entries)`` by themselves; see `FlowHead`."""
        velocity: Tensor = self.flow(y, tau, features)
        return velocity

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """The mean of every token of the next state, told ``x`` as the state before and as earlier tokens."""
        tokens, t = self.patches.cut(cast("Tensor", x)), cast("Tensor", t)
        n = self.patches.count
        told = self.features(torch.cat([tokens, tokens[:, :-1]], 1), t, cond, prefix=n)[:, n - 1 :]
        return self.patches.join(self.head(torch.zeros_like(tokens), t.new_zeros(len(t)), told))
