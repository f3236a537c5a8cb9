"""Sources: the law of x0 at t=0."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts, within
from flowloom.data.base import Dataset, Tensors
from flowloom.draw import GLOBAL, Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.geometry import Discrete, Euclidean, Geometry
from flowloom.geometry import Product as ProductGeometry
from flowloom.layout import Layout
from flowloom.module_names import module_name
from flowloom.state import (
    Cond,
    Shape,
    map_state,
    shape_of,
    sum_event,
    to_device,
)

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["FromDataset", "Gaussian", "Mask", "Paired", "Product", "Source", "Uniform", "part_of"]


class Source(ABC):
    """Draws x0. Training and sampling must use the same one.

    A source has two halves. `noise` is drawn on the data side, without gradient, perhaps ahead in a thread,
    and couplings pair it. `push` makes x0 of it on the model side, under gradient: what a learned source
    learns happens there, and a source that learns derives from ``nn.Module`` as well.

    Attributes:
        gaussian: True for a centred isotropic Gaussian, for which a velocity gives a score.
        std: standard deviation of a Gaussian source, None for any other.
        gives_data: True where its draws are data, which the codec has to encode.
        reads: names of conditions that it starts at; their role is ``start``, or the network would see them.
        starts_alone: True where it draws by itself when those are not given.
        parts: sources by name of the part, where parts of a product state have their own.
    """

    gaussian: bool = False
    gives_data: bool = False
    reads: tuple[str, ...] = ()
    starts_alone: bool = False
    std: float | None = None
    parts: Mapping[str, Source] = MappingProxyType({})

    @property
    def density_gap(self) -> str:
        """Why `log_prob` would raise, in one line with what would help; empty where there is a density."""
        if type(self).log_prob is not Source.log_prob:
            return ""
        return f"source {type(self).__name__} has no density; likelihoods need one"

    @abstractmethod
    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Draw a state of full shape ``shape`` (batch first; a dict of shapes for a product).

        A source may look at ``cond``; then row i belongs to row i of the conditions.
        """

    def push(self, noise: Any, cond: Cond | None = None) -> Any:
        """x0 from noise, differentiably; the noise itself unless a source learns."""
        return noise

    def sample(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Draw x0: noise, pushed."""
        return self.push(self.noise(shape, draw, cond=cond), cond)

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """Log density of every row, ``(batch,)``, of its real and free entries.

        Raises:
            IncompatibleError: this source has no tractable density.
        """
        raise IncompatibleError(self.density_gap)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """What of ``parts`` this law cannot work with; see `flowloom.clashes`."""
        return ()


def part_of(source: Source | None, name: str) -> Source | None:
    """The law of one part of a product state: the source's own for it, or the source itself."""
    return None if source is None else source.parts.get(name, source)


class Gaussian(Source):
    """Independent normal entries with mean 0.

    Args:
        std: standard deviation.
    """

    gaussian = True

    def __init__(self, std: float = 1.0) -> None:
        if not 0 < std < math.inf:
            raise ValueError(f"std must be positive and finite, got {std}")
        self.std: float = std

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Normal noise in every part."""
        if isinstance(shape, dict):
            return {k: self.noise(s, draw) for k, s in shape.items()}
        noise = draw.normal(shape)
        return noise if self.std == 1 else noise * self.std

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """``-|x|^2 / (2 std^2) - d log(std sqrt(2 pi))`` over real and free entries, summed over parts."""
        if isinstance(x, dict):
            return torch.stack([self.log_prob(v, cond, _part(layout, k)) for k, v in x.items()]).sum(0)
        constant = math.log(self.std) + 0.5 * math.log(2 * math.pi)
        entries = -0.5 * (x / self.std).square() - constant
        return sum_event(entries) if layout is None else layout.sum(entries)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Spaces that are not all of R^n."""
        space = parts.get("geometry")
        if isinstance(space, Geometry) and not (space.straight and not space.convex):
            fits = "mask or uniform" if not space.continuous else "uniform"
            yield Clash("source", "geometry", f"gaussian noise does not lie on {space}; use source: {fits}")


class Uniform(Source):
    """Uniform on a compact geometry: a sphere, a torus, a box, a set of tokens, a product of such.

    Args:
        geometry: the space; injected from the recipe where none is given.
    """

    def __init__(self, geometry: Geometry) -> None:
        if type(geometry) is Euclidean:
            raise IncompatibleError(
                "there is no uniform law on all of R^n; use source: gaussian, or a bounded geometry"
            )
        self.geometry = geometry

    @property
    def density_gap(self) -> str:
        """Says which geometry has no volume that it knows of."""
        space = _without_volume(self.geometry)
        if space is None:
            return ""
        advice = (
            "use source: product, with gaussian for that part"
            if type(space) is Euclidean
            else "give the geometry log_volume, or use another source"
        )
        return (
            f"source {type(self).__name__} has no density on {space}, whose volume is infinite or not known; "
            f"{advice}"
        )

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Uniform points."""
        return self.geometry.random(shape, draw)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A space of its own that is another than the states'."""
        yield from _elsewhere(self, self.geometry, parts)

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """Minus the log volume of a row's real and free points; minus infinity where a row has left a
        bounded space.

        Raises:
            IncompatibleError: the geometry has no finite volume, or does not say it.
        """
        if gap := self.density_gap:
            raise IncompatibleError(gap)
        if isinstance(x, dict):
            event: Shape = {k: tuple(v.shape[1:]) for k, v in x.items()}
            first = next(iter(x.values()))
        else:
            event, first = tuple(x.shape[1:]), x
        dtype = first.dtype if first.is_floating_point() else torch.get_default_dtype()
        if layout is None:
            inside = torch.full(
                (first.shape[0],), self.geometry.log_uniform(event), device=first.device, dtype=dtype
            )
        else:
            inside = _log_uniform(self.geometry, x, layout).to(dtype)
            x = layout.fill(x)
        outside = _outside(self.geometry, x)
        return inside if outside is None else inside.masked_fill(outside, -math.inf)


def _elsewhere(source: Source, own: Geometry, parts: Parts) -> Iterable[Clash]:
    """A clash where a source lives on another space than the states; all of R^n holds points of any."""
    space = parts.get("geometry")
    everywhere = isinstance(space, Geometry) and space.straight and not space.convex and own.continuous
    if isinstance(space, Geometry) and not everywhere and not space.like(own):
        who = type(source).__name__
        yield Clash(
            "source",
            "geometry",
            f"{who} draws from {own}, and the states live on {space}; leave the source's own geometry out, "
            "or say the same one",
        )


def _without_volume(geometry: Geometry) -> Geometry | None:
    """The geometry, or the first part of a product, that gives the uniform law no density."""
    if isinstance(geometry, ProductGeometry):
        return next((g for part in geometry.parts.values() if (g := _without_volume(part)) is not None), None)
    if type(geometry).log_uniform is not Geometry.log_uniform:
        return None  # the volume depends on the shape, and is known for all of them
    try:
        return None if math.isfinite(geometry.log_volume()) else geometry
    except NotImplementedError:
        return geometry


def _outside(geometry: Geometry, x: Any) -> Tensor | None:
    """Rows beyond the walls of a convex space, or of a part that is one; None where there are no walls."""
    if isinstance(geometry, ProductGeometry):
        parts = [_outside(g, x[name]) for name, g in geometry.parts.items()]
        found = [p for p in parts if p is not None]
        return torch.stack(found).any(0) if found else None
    if not geometry.convex:
        return None
    # As much as a solver's tolerance may leave behind. NaN is nowhere.
    return ~(geometry.violation(x) <= 1e-4 * geometry.extent)


class Mask(Source):
    """Every token is the mask, id ``vocab``: the absorbing source of masked discrete flows.

    Args:
        geometry: the discrete space; injected from the recipe where none is given.
    """

    def __init__(self, geometry: Geometry) -> None:
        if not isinstance(geometry, Discrete):
            raise IncompatibleError(f"source mask needs a discrete geometry, got {geometry}")
        self._space, self.token = geometry, geometry.vocab

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """A constant state of mask ids, int64."""
        return torch.full(shape, self.token, device=draw.device, dtype=torch.long)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Real-valued spaces."""
        space = parts.get("geometry")
        if isinstance(space, Geometry) and space.continuous:
            yield Clash("source", "geometry", f"a mask is a token, and {space} is continuous")
        else:
            yield from _elsewhere(self, self._space, parts)


class FromDataset(Source):
    """Draws x0 from another data set, with replacement: data-to-data flows.

    Args:
        dataset: where x0 comes from; its states have the shape of the data's.
    """

    gives_data = True

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Random rows of the data set."""
        first = shape
        while isinstance(first, dict):
            first = next(iter(first.values()))
        rows = draw.integers(len(self.dataset), (first[0],))
        x = to_device(self.dataset.take(rows.cpu()).x, rows.device)
        if shape_of(x) != shape:
            raise ShapeError(f"the source data set gives states of shape {shape_of(x)}, wanted {shape}")
        return map_state(lambda v: v.to(draw.dtype) if v.is_floating_point() and draw.dtype else v, x)


class Paired(Source):
    """x0 comes with the example, as the condition ``x0``: stored couplings, reflow pairs, data-to-data tasks.

    Args:
        key: name of the condition, of role ``start``.
        holds: what the condition holds: ``data``, which a codec encodes as it does the examples, or
            ``states`` already (noise that a teacher started from).
        otherwise: the law of x0 where the condition is not given, which is how reflow samples: pairs were
            stored, and new noise is drawn. Its density is that of the pairs' starts.
    """

    def __init__(
        self,
        key: str = "x0",
        holds: Literal["data", "states"] = "data",
        otherwise: Source | None = None,
    ) -> None:
        self.key, self.reads, self.gives_data = key, (key,), holds == "data"
        self.otherwise = otherwise
        if otherwise is not None:
            if isinstance(otherwise, nn.Module):
                raise ValueError("the law that stands in for stored pairs cannot be one that learns")
            if otherwise.gives_data != self.gives_data:
                raise ValueError("what is stored and what is drawn otherwise are both data, or both states")
            self.gaussian, self.std, self.starts_alone = otherwise.gaussian, otherwise.std, True

    @property
    def density_gap(self) -> str:
        """That of the law which stands in."""
        if self.otherwise is None:
            return "source Paired has no density; likelihoods need one"
        return self.otherwise.density_gap

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """That of the law which stands in."""
        if self.otherwise is None:
            raise IncompatibleError(self.density_gap)
        return self.otherwise.log_prob(x, cond, layout)

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """The condition itself."""
        if (not cond or self.key not in cond) and self.otherwise is not None:
            return self.otherwise.noise(shape, draw, cond=cond)
        if not cond or self.key not in cond:
            raise ShapeError(f"source paired needs the condition '{self.key}'; given: {sorted(cond or {})}")
        return cond[self.key].to(device=draw.device)


class Product(Source, nn.Module):
    """An own source for every part of a product state.

    Args:
        parts: sources by name of the part.
    """

    parts: dict[str, Source]

    def __init__(self, parts: Mapping[str, Source]) -> None:
        nn.Module.__init__(self)
        self.parts = dict(parts)
        self.learned = nn.ModuleDict(
            {module_name(k): s for k, s in self.parts.items() if isinstance(s, nn.Module)}
        )
        stds = {s.std for s in self.parts.values()}
        self.gaussian = all(s.gaussian for s in self.parts.values()) and len(stds) == 1
        self.std = stds.pop() if self.gaussian else None
        self.gives_data = all(s.gives_data for s in self.parts.values())
        self.reads = tuple(name for s in self.parts.values() for name in s.reads)

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Fit the parts that want it, each on its part of the states (10,000 evenly spread rows at most)."""
        fitted = {name: fit for name, s in self.parts.items() if (fit := getattr(s, "fit", None)) is not None}
        if not fitted:
            return
        states: Any = None
        if data is not None:
            # Evenly spread: rows of a file are often sorted.
            rows = data.take(data.evenly(10_000))
            states = (rows if flow is None else flow.encode(rows, generator)).x
        for name, fit in fitted.items():
            fit(None if states is None else Tensors(states[name]), flow, generator)

    @property
    def density_gap(self) -> str:
        """That of the first part that has one."""
        return next((gap for s in self.parts.values() if (gap := s.density_gap)), "")

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Independent draws of the parts."""
        if not isinstance(shape, dict) or shape.keys() != self.parts.keys():
            raise ShapeError(f"this source has the parts {sorted(self.parts)}, the shape is {shape}")
        return {k: s.noise(shape[k], draw, cond=cond) for k, s in self.parts.items()}

    def push(self, noise: Any, cond: Cond | None = None) -> Any:
        """Part by part."""
        return {k: s.push(noise[k], cond) for k, s in self.parts.items()}

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """Sum over parts."""
        rows = [s.log_prob(x[k], cond, _part(layout, k)) for k, s in self.parts.items()]
        return torch.stack(rows).sum(0)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """What every part's own law says."""
        for name, source in self.parts.items():
            yield from source.clashes(within(parts, name))


def _part(layout: Layout | None, name: str) -> Layout | None:
    return None if layout is None else layout.part(name)


def _log_uniform(geometry: Geometry, x: Any, layout: Layout | None) -> Tensor:
    """Log density of the uniform law of every row's real and free points, ``(batch,)``."""
    if isinstance(geometry, ProductGeometry):
        rows = [_log_uniform(g, x[k], _part(layout, k)) for k, g in geometry.parts.items()]
        return torch.stack(rows).sum(0)
    event = tuple(x.shape[1:])
    points = geometry.points(event)
    each = geometry.log_uniform(event) / points
    lead = x.shape[: x.ndim - geometry.point_ndim] if geometry.point_ndim else x.shape
    ones = torch.ones(lead, device=x.device, dtype=torch.float64)
    return each * (ones.flatten(1).sum(1) if layout is None and ones.ndim > 1 else _summed(ones, layout))


def _summed(ones: Tensor, layout: Layout | None) -> Tensor:
    return ones if layout is None else layout.sum(ones)
