"""A network of images made to answer with a mixture of velocities at every pixel."""

from __future__ import annotations

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models import Model, speak_for
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_fewstep.mixture_mlp import MixtureModel
from flowloom_fewstep.mixtures import Mixture

__all__ = ["MixturePixels"]


class MixturePixels(MixtureModel):
    r"""Any network of images with more channels out, read as GMFlow's GM-DiT (Chen et al. 2504.05304).

    .. math:: p(v_{ij} | x, t) = \textstyle\sum_k A_{k,ij}\, N\big(\mu_{k,ij}, s^2 I\big)

    at every pixel ij, with K means of C channels and K weights of the network's last layer, and one standard
    deviation s for all of the image. That is told by a small network of time and conditions alone, which
    reads the network's own embedding of them with its gradient stopped, as in the authors' code: read from
    the image it was less stable. It starts at s = 1.

    Around a DiT-XL/2 with K = 8 it is the paper's network; around a U-Net, what the paper trains on CIFAR-10.

    Args:
        spec: of the states, images of real values; injected from the recipe.
        network: of images, with K (C + 1) channels out (``out_channels``), and a ``context`` of time and
            conditions, as DiT and U-Net have.
        components: K.
        width: of the hidden layer that tells s.

    Raises:
        IncompatibleError: the states are no images, or the network has no embedding to be read.
    """

    def __init__(self, spec: Spec, network: Model, components: int = 8, width: int = 1024) -> None:
        super().__init__()
        require_sizes(components=components, width=width)
        assert isinstance(network, nn.Module)
        if spec.parts or spec.discrete or len(spec.shape) != 3:
            raise IncompatibleError(f"mixture-pixels has a mixture a pixel of images, not {spec.in_words()}")
        dim = getattr(getattr(getattr(network, "context", None), "condition", None), "dim", None)
        if dim is None:
            raise IncompatibleError(
                f"mixture-pixels reads a network's embedding of time and conditions, and "
                f"{type(network).__name__} has none; use a dit or a unet"
            )
        self.spec, self.network, self.components = spec, network, components
        self.log_std = nn.Sequential(nn.SiLU(), nn.Linear(dim, width), nn.SiLU(), nn.Linear(width, 1))
        last = self.log_std[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        speak_for(self, network)

    def mixture(self, x: Tensor, t: Tensor, cond: Cond) -> Mixture:
        """One pass; weights and deviation in at least single precision.

        Raises:
            IncompatibleError: the network has another number of channels out.
        """
        k, channels = self.components, x.shape[1]
        out = self.network(x, t, **cond)
        if out.shape[1] != k * (channels + 1):
            raise IncompatibleError(
                f"{k} components of {channels} channels and a weight are {k * (channels + 1)} channels, and "
                f"the network has {out.shape[1]}; give model.network.out_channels: {k * (channels + 1)}"
            )
        means, logits = out.split([k * channels, k], 1)
        log_std = self.log_std(self.network.get_submodule("context")(t, cond).detach())[:, 0]
        if log_std.dtype.itemsize < 4:
            means, logits, log_std = means.float(), logits.float(), log_std.float()
        return Mixture(
            logits[:, :, None].log_softmax(1), means.unflatten(1, (k, channels)), (2 * log_std).exp()
        )
