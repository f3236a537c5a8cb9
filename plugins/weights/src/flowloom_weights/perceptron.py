"""Multilayer perceptrons whose weights are given: many networks of one form, asked at once.

A network is a mapping of names to tensors, ``weight0 (out, in)``, ``bias0 (out,)`` and so on; with batch
normalisation each hidden layer also has ``scale``, ``shift``, ``mean`` and ``variance``. Many networks have
one more dimension in front.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.spec import Spec

__all__ = ["HIDDEN", "Form", "initial", "logits", "recalibrated"]

Networks = Mapping[str, Tensor]
STATISTICS = ("mean", "variance")
HIDDEN = ("bias", "scale", "shift", *STATISTICS)
"""What a hidden layer has one number of for each of its units."""
_EPS = 1e-5


@dataclass(frozen=True)
class Form:
    """What networks of a zoo have in common.

    Args:
        sizes: units of every layer, inputs and outputs included.
        norm: whether hidden layers are followed by batch normalisation (Ioffe and Szegedy 1502.03167).
    """

    sizes: tuple[int, ...]
    norm: bool = False

    @property
    def layers(self) -> int:
        """Linear maps."""
        return len(self.sizes) - 1

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor, by name."""
        found: dict[str, tuple[int, ...]] = {}
        for i, (inner, outer) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            found |= {f"weight{i}": (outer, inner), f"bias{i}": (outer,)}
            if self.norm and i + 1 < self.layers:
                found |= {f"{name}{i}": (outer,) for name in HIDDEN[1:]}
        return found

    @staticmethod
    def of(spec: Spec) -> Form:
        """The form of networks that a spec has as its parts.

        Raises:
            IncompatibleError: they are no such networks.
        """
        shapes = {name: tuple(part.shape) for name, part in spec.parts.items()}
        count = sum(name.startswith("weight") for name in shapes)
        weights = [shapes.get(f"weight{i}", ()) for i in range(count)]
        sizes = (*(shape[-1] for shape in weights if shape), *(shape[0] for shape in weights[-1:] if shape))
        form = Form(sizes, "scale0" in shapes)
        if not weights or form.shapes() != shapes:
            have = ", ".join(shapes) or f"one tensor {tuple(spec.shape)}"
            raise IncompatibleError(
                f"these states are no perceptrons (weight0, bias0, weight1 ...); they have {have}; use a "
                "network-zoo"
            )
        return form


def initial(form: Form, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Networks as torch makes linear layers: uniform within one over the root of the inputs."""
    found = {}
    for name, shape in form.shapes().items():
        kind, layer = name.rstrip("0123456789"), int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))
        if kind in ("scale", "variance"):
            found[name] = torch.ones(count, *shape)
        elif kind in ("shift", "mean"):
            found[name] = torch.zeros(count, *shape)
        else:
            bound = 1 / math.sqrt(form.sizes[layer])
            found[name] = bound * (2 * torch.rand(count, *shape, generator=generator) - 1)
    return found


def logits(networks: Networks, x: Tensor, *, by_batch: bool = False) -> Tensor:
    """What networks say: ``(count, rows, classes)``.

    Args:
        networks: of one form, each tensor ``(count, ...)``.
        x: inputs ``(rows, features)``, or ``(count, rows, features)`` for inputs of their own.
        by_batch: normalise by the statistics of these inputs, and not by the networks' own.
    """
    return _passed(networks, x, by_batch)[0]


def recalibrated(networks: Networks, x: Tensor) -> dict[str, Tensor]:
    """The networks, whose statistics are those of the inputs ``x``; as they are without normalisation."""
    return {**networks, **_passed(networks, x, True)[1]}


def _passed(networks: Networks, x: Tensor, by_batch: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the statistics met on the way."""
    layers = sum(name.startswith("weight") for name in networks)
    count = len(networks["weight0"])
    hidden = x.to(networks["weight0"]).expand(count, *x.shape[-2:])
    met: dict[str, Tensor] = {}
    for i in range(layers):
        hidden = torch.baddbmm(networks[f"bias{i}"][:, None], hidden, networks[f"weight{i}"].mT)
        if i + 1 == layers:
            break
        if f"scale{i}" in networks:
            if by_batch:
                mean, variance = hidden.mean(1), hidden.var(1, correction=0)
                met |= {f"mean{i}": mean, f"variance{i}": variance}
            else:
                # A generated variance may fall below 0.
                mean, variance = networks[f"mean{i}"], networks[f"variance{i}"].clamp_min(0)
            hidden = (hidden - mean[:, None]) * (variance + _EPS).rsqrt()[:, None]
            hidden = hidden * networks[f"scale{i}"][:, None] + networks[f"shift{i}"][:, None]
        hidden = F.relu(hidden)
    return hidden, met
