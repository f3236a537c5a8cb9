"""Git Re-Basin (Ainsworth et al. 2209.04836): hidden units in the order of those of a reference network.

Permuting the units of a hidden layer, together with everything that belongs to them (bias, normalisation, and
the columns of the next layer), changes no network as a function. Weight matching takes the order in which the
weights are nearest to the reference.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from flowloom_weights.perceptron import HIDDEN, STATISTICS

__all__ = ["order", "permuted", "rebasin"]

_PASSES = 100


def rebasin(networks: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every network in the order of the reference.

    Args:
        networks: tensors ``(count, ...)`` by name.
        reference: one network, tensors without the first dimension.
    """
    count = len(networks["weight0"])
    plain = {name: value.detach().cpu().double().numpy() for name, value in networks.items()}
    wanted = {name: value.detach().cpu().double().numpy() for name, value in reference.items()}
    rows = [order({name: value[i] for name, value in plain.items()}, wanted) for i in range(count)]
    found = [
        permuted({name: value[i] for name, value in networks.items()}, [torch.from_numpy(one) for one in row])
        for i, row in enumerate(rows)
    ]
    return {name: torch.stack([one[name] for one in found]) for name in networks} if found else dict(networks)


def order(network: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    r"""Which unit of the network stands where, for each hidden layer.

    Coordinate ascent on :math:`\sum_l \langle W_l^{ref}, P_l W_l P_{l-1}^T \rangle` (and the same of all that
    belongs to units), one linear assignment a layer, until no layer gains.
    """
    layers = sum(name.startswith("weight") for name in network)
    orders = [np.arange(len(network[f"bias{i}"])) for i in range(layers - 1)]
    for _ in range(_PASSES):
        gained = False
        for i in range(layers - 1):
            gains = _gains(network, reference, orders, i)
            _, best = linear_sum_assignment(gains, maximize=True)
            places = np.arange(len(best))
            better = gains[places, best].sum() - gains[places, orders[i]].sum()
            if better > 1e-9 * (1 + np.abs(gains).max()):
                orders[i], gained = best, True
        if not gained:
            break
    return orders


def _gains(
    network: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], orders: list[np.ndarray], i: int
) -> np.ndarray:
    """What it is worth that unit k of the network stands at place j: ``gains[j, k]``."""
    into, out = network[f"weight{i}"], network[f"weight{i + 1}"]
    into = into[:, orders[i - 1]] if i else into
    out = out[orders[i + 1]] if i + 1 < len(orders) else out
    gains: np.ndarray = reference[f"weight{i}"] @ into.T + reference[f"weight{i + 1}"].T @ out
    for name in HIDDEN:
        if name not in STATISTICS and f"{name}{i}" in network:
            gains = gains + np.outer(reference[f"{name}{i}"], network[f"{name}{i}"])
    return gains


def permuted(network: Mapping[str, Tensor], orders: list[Tensor]) -> dict[str, Tensor]:
    """The network with its hidden units in another order: the same function."""
    found = dict(network)
    for i, one in enumerate(orders):
        one = one.to(network["weight0"].device)
        for name in ("weight", *HIDDEN):
            if f"{name}{i}" in found:
                found[f"{name}{i}"] = found[f"{name}{i}"][one]
        found[f"weight{i + 1}"] = found[f"weight{i + 1}"][:, one]
    return found
