"""GMFlow: the law of the velocity as a Gaussian mixture in one evaluation."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import drop
from flowloom.couplings import Independent
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.objectives import Batch, Loss, Objective, Step, dropout_clashes
from flowloom.paths import AffinePath, Path
from flowloom.schedules import CondOT
from flowloom.sources import Source
from flowloom.state import batch_size, expand
from flowloom.times import TimeLaw, Uniform
from flowloom_fewstep.mixture_mlp import MixtureModel
from flowloom_fewstep.mixture_velocity import MixtureVelocity
from flowloom_fewstep.mixtures import LEAST_NOISE, posterior, transition
from flowloom_fewstep.unit_time import require_unit_time

__all__ = ["GMFlow"]


class GMFlow(Objective):
    r"""Maximum likelihood of short transitions under a mixture (Chen et al. 2504.05304).

    .. math:: L = -E \log q_\theta(x_b | x_a), \qquad s_b = (1 - \lambda)\, s_a, \quad
              q_\theta(x_b | x_a) = \textstyle\int q(x_b | x_a, x_1)\, p_\theta(x_1 | x_a)\, dx_1

    with :math:`x_b` on the path and :math:`x_a` noised from it, by the closed kernel of
    `flowloom_fewstep.mixtures`. :math:`\lambda = 1` is the likelihood of velocities; with one component
    the mean is flow matching's. Losses are nats an entry. Whether there is one mixture over the state or one
    a pixel over channels, as in the paper, is the network's to say. The paper's spectral noise, second order
    and guidance of mixtures are not here.

    Args:
        path: the straight one, on one flat tensor.
        times: law of the time of :math:`x_a`.
        ratio: lambda, in (0, 1].
        condition_dropout: probability with which a row's conditions are withheld.

    Raises:
        IncompatibleError: another path.
        ValueError: the ratio is out of range.
    """

    also = ("velocity",)

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        ratio: float = 0.5,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.path, self.law = path or AffinePath(), times or Uniform()
        if self.path.schedule != CondOT() or not self.path.geometry.straight:
            raise IncompatibleError(
                "gmflow has closed laws on the straight Gaussian path alone; use path: {use: affine, "
                "schedule: cond-ot} (sigma_min 0) on one tensor"
            )
        require_unit_time("gmflow", self.path, times)
        if not 0 < ratio <= 1 or not 0 <= condition_dropout < 1:
            raise ValueError(
                f"ratio lies in (0, 1], condition_dropout in [0, 1), got {ratio}, {condition_dropout}"
            )
        self.ratio, self.condition_dropout = ratio, condition_dropout

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Conditions to withhold that the data lacks or the network needs; noise that is not N(0, I).

        Or that is not so beside its data: closed laws are those of noise which knows nothing of them.
        """
        yield from dropout_clashes(self.condition_dropout, parts)
        coupling, source = parts.get("coupling"), parts.get("source")
        if coupling is not None and not isinstance(coupling, Independent):
            name = type(coupling).__name__
            message = f"gmflow's laws are those of noise that is independent of the data, not of {name}"
            yield Clash("objective", "coupling", f"{message}; use coupling: independent")
        if isinstance(source, Source) and (not source.gaussian or source.std != 1 or source.reads):
            yield Clash("objective", "source", "gmflow's noise is N(0, I); use source: gaussian with std 1")

    @property
    def kind(self) -> str:
        """A mixture of velocities."""
        return "velocity-mixture"

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The mixture."""
        return MixtureVelocity(model, self.path, source)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """One network call.

        Raises:
            IncompatibleError: the network answers with no mixture, or rows have padding or given entries.
        """
        if not isinstance(model, MixtureModel):
            raise IncompatibleError(
                f"gmflow needs a mixture, and {type(model).__name__} answers with a state; use model: "
                "mixture-mlp, or mixture-pixels around a network of images"
            )
        if batch.layout is not None:
            raise IncompatibleError("gmflow has mixtures over whole states: no padding, no given entries")
        n, draw = batch_size(batch.x1), Draw.like(batch.x1, step.generator)
        a = self.law.sample(n, draw).clamp(max=1 - LEAST_NOISE)
        b = 1 - (1 - a) * (1 - self.ratio)
        later = batch.point(self.path, b, step.generator).x_t
        assert isinstance(later, Tensor)
        q = a / b
        noise = ((1 - a).square() - (q * (1 - b)).square()).clamp_min(0).sqrt()
        x = expand(q, later) * later + expand(noise, later) * draw.normal(later.shape)
        cond = drop(batch.cond, self.condition_dropout, n, step.generator)
        data = posterior(model.mixture(x, a, cond), x, a)
        return Loss(-transition(a, b).law(x, data).log_prob(later).mean())
