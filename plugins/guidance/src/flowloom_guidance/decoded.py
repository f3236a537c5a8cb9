"""Energies are of data: what asks them of states decodes first."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.codecs import Codec
from flowloom.data import Examples
from flowloom.energies import Energy, misfit
from flowloom.spec import Spec
from flowloom.state import Cond, State

__all__ = ["energy_of", "misfits"]


def energy_of(energy: Energy, codec: Codec | None, x: State, cond: Cond) -> Tensor:
    """Energies ``(batch,)`` of states ``(batch, *event)``, decoded where there is a codec."""
    if codec is None:
        return energy(x, cond)
    data = codec.decode(Examples(x, dict(cond)))
    return energy(data.x, data.cond)


def misfits(energy: Energy, codec: Codec | None, parts: Parts, section: str) -> Iterable[Clash]:
    """An energy of other data, and a codec of the flow that the part in ``section`` does not know."""
    if codec is None and parts.get("codec") is not None:
        message = "an energy is of data, and these states are encoded; give it the flow's codec as well"
        yield Clash(section, "codec", message)
        return
    spec = parts.get("spec") if codec is None else codec.data_spec
    if isinstance(spec, Spec) and (message := misfit(energy, spec, "data")):
        yield Clash(section, "data", message)
