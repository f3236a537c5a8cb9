"""Exact bits per dimension of held-out examples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.seeds import derive
from flowloom_likelihood.codec import Dequantize
from flowloom_likelihood.dequantizers import log_probability
from flowloom_likelihood.field import BijectionField


class BitsPerDim(Score):
    r"""Bits for every dimension that a flow of exact likelihood needs to code an example.

    .. math:: \frac{1}{D \ln 2}\Big(-\log \frac1M \sum_m \frac{p(x + u_m)}{q(u_m | x)} + D \ln n\Big)

    of data of n levels behind the codec ``dequantize``: with M = 1 the usual bound (1807.03039, section 2),
    with more draws a tighter one (1902.00275, equation 12). The law q of u is that of the objective's
    dequantiser, else uniform. Without that codec they are bits of a density, which may be negative; of states
    with the noise of training, where the objective gives them some.

    Args:
        draws: M, draws of the dequantisation noise. Compare figures of the same M only.
        batch: examples at a time.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"bits_per_dim": "lower"}

    def __init__(self, draws: int = 1, batch: int = 256) -> None:
        if draws < 1 or batch < 1:
            raise ValueError(f"draws and batch must be at least 1, got {draws} and {batch}")
        self.draws, self.batch = draws, batch

    def require(self, flow: Flow) -> None:
        """Ask for a bijection and, for more than one draw, for dequantised data."""
        if not isinstance(flow.field(), BijectionField):
            raise IncompatibleError(
                "score bits-per-dim needs objective: exact-likelihood and a bijection; "
                "score: likelihood integrates the divergence of other flows"
            )
        if flow.codec is not None and not isinstance(flow.codec, Dequantize):
            raise IncompatibleError("score bits-per-dim knows the codec dequantize only")
        if self.draws > 1 and flow.codec is None:
            raise IncompatibleError("score bits-per-dim: several draws need codec: dequantize")

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``bits_per_dim``."""
        self.require(flow)
        if len(examples) == 0:
            raise ShapeError("score bits-per-dim: there is no example to score")
        field, codec = flow.field(), flow.codec
        assert isinstance(field, BijectionField)
        assert isinstance(examples.x, Tensor)
        draws = torch.Generator(examples.x.device).manual_seed(derive(seed, "dequantize"))
        learned = getattr(flow.objective, "dequantizer", None)
        levels = codec if isinstance(codec, Dequantize) else None
        total = 0.0
        with flow.evaluating():
            for rows in torch.arange(len(examples)).split(self.batch):
                part = examples.take(rows)
                found: list[Tensor] = []
                for _ in range(self.draws):
                    # The examples came with one draw of their own, which is the first.
                    own = learned is not None or not found
                    states = part if own else flow.encode(flow.decode(part), draws)
                    assert isinstance(states.x, Tensor)
                    x = states.x
                    if field.noise:
                        x = x + field.noise * Draw.like(x, draws).normal(x.shape)
                    bound = log_probability(field, x, states.cond, levels, learned, draws)
                    found.append(bound.double())
                total += float((torch.stack(found).logsumexp(0) - math.log(self.draws)).sum())
        return {"bits_per_dim": -total / len(examples) / (examples.x[0].numel() * math.log(2))}
