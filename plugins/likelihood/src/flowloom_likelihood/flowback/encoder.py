"""What a frozen encoder makes of every patch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from flowloom.errors import IncompatibleError
from flowloom.models.overheard import overhear
from flowloom.trained import Trained


@torch.no_grad()
def patch_features(encoder: Trained, module: str, x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Features ``(batch, patches, d)`` of images, one vector for every patch of ``grid``, row by row.

    Args:
        encoder: a frozen network of such images.
        module: dotted name of the module in it that answers with a map ``(batch, d, h, w)``, which is
            averaged over the patches, or with tokens ``(batch, patches, d)``; a first token for all of the
            image is passed over. The encoder's own answer where empty.
        x: images ``(batch, C, H, W)``.
        grid: rows and columns of the patches.

    Raises:
        IncompatibleError: there is no such module, or it answers with something else.
    """
    network = encoder.flow.model
    _, told = overhear(
        network,
        module,
        lambda: encoder(x, x.new_full((len(x),), encoder.flow.path.span[1])),
        who=f"the encoder {type(network).__name__}",
    )
    if not isinstance(told, Tensor):
        raise IncompatibleError(f"module {module!r} of the encoder answers with no features")
    answer, patches = told, grid[0] * grid[1]
    if answer.ndim == 4:
        answer = adaptive_avg_pool2d(answer, grid).flatten(2).transpose(1, 2)
    if answer.ndim == 3 and answer.shape[1] == patches + 1:
        answer = answer[:, 1:]
    if answer.ndim != 3 or answer.shape[1] != patches:
        raise IncompatibleError(
            f"module {module!r} of the encoder answers with shape {tuple(told.shape)}, which is neither "
            f"a map (batch, d, h, w) nor {patches} tokens"
        )
    return answer.float()
