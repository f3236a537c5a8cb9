"""PepFlow's losses: frames, torsions and types of one prediction, and what ties them together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import drop
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.fields.base import onto_space
from flowloom.geometry import Geometry
from flowloom.layout import Layout, mean_of_entries
from flowloom.objectives import Batch, Loss, Step
from flowloom.objectives.base import PointObjective
from flowloom.paths import Path, Point
from flowloom.sources import Source
from flowloom.state import Cond, State, Time, batch_size, expand
from flowloom.times import TimeLaw
from flowloom_molecules.peptides.atoms import backbone
from flowloom_molecules.peptides.chart import LogitPath, PeptideChart, corners
from flowloom_molecules.peptides.form import PARTS
from flowloom_molecules.peptides.residues import has_torsion

__all__ = ["KIND", "WEIGHTS", "PepFlow", "drawn_types", "standing_types"]

KIND: Kind = {"pos": "data", "rot": "data", "angles": "data", "types": "posterior"}
"""What the network answers with, part by part."""
WEIGHTS = {"pos": 0.5, "rot": 0.5, "atoms": 0.25, "types": 1.0, "angles": 1.0, "torsions": 0.5}
"""Of the six losses, from the configuration of the authors' code."""


def drawn_types(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Type ids ``(batch, n)`` drawn from the softmax of logits ``(batch, n, 20)``."""
    flat = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=generator)
    return flat.reshape(logits.shape[:2])


def standing_types(logits: Tensor, scale: float, generator: torch.Generator | None) -> Tensor:
    """The same, but a type that stands at its corner, as given ones do, is that type and never another.

    The softmax of a corner leaves other types a share of its own, 1 in 1000 with scale 5.
    """
    own = logits.argmax(-1)
    there = (logits == corners(own, scale).to(logits)).all(-1)
    return torch.where(there, own, drawn_types(logits, generator))


class PepFlow(PointObjective):
    r"""Multi-modal flow matching of peptides (Li et al. 2406.00735), by predictions of the clean peptide.

    At one t for all parts, in :math:`[1 - c, c]`, with :math:`w = 1 / (1 - t)`, means over residues:

    .. math:: \tfrac12 |\hat x - x_1|^2
        + \tfrac12 w^2 |\log_{R_t} \hat R - \log_{R_t} R_1|^2
        + \tfrac14 \textstyle\sum_{N, CA, C} |\hat a - a|^2
        + \mathrm{CE}(\hat s, s)
        + w^2 |e(\hat\chi - \chi_t) - e(\chi_1 - \chi_t)|^2
        + \tfrac12 |e(\hat\chi) - e(\chi_1)|^2

    with :math:`e = (\sin, \cos)`, the last two means over torsions that a type has which is drawn from the
    prediction, since nobody knows the type yet. Where a path is flat in angles, their plain difference stands
    for e. Types reach the network as a draw from the softmax of their logits. Padding and given entries cost
    nothing; a residue counts for the backbone's atoms where both its place and its frame are free.

    Args:
        path: a product over ``pos``, ``rot``, ``angles`` and ``types``; types end on corners (`LogitPath`).
        times: law of t, scaled to ``[1 - clip, clip]``.
        clip: c.
        weights: of the losses ``pos``, ``rot``, ``atoms``, ``types``, ``angles``, ``torsions``, where they
            differ from the authors' (`WEIGHTS`).
        draw: show the network drawn types, as the paper does; the softmax itself where False.
        torsions_of: whose torsions count: the ``predicted`` types', as in the authors' code, or the ``true``.
        condition_dropout: probability with which the pocket is withheld from a row.
    """

    def __init__(
        self,
        path: Path,
        times: TimeLaw | None = None,
        clip: float = 0.9,
        weights: Mapping[str, float] | None = None,
        draw: bool = True,
        torsions_of: Literal["predicted", "true"] = "predicted",
        condition_dropout: float = 0.0,
    ) -> None:
        types = path.parts.get("types")
        if set(path.parts) != set(PARTS) or not isinstance(types, LogitPath):
            raise IncompatibleError(
                "objective pepflow needs path: product with the parts pos, rot, angles and types, the last "
                f"simplex-logits; got {type(path).__name__} of {', '.join(path.parts) or 'one tensor'}"
            )
        if not 0.5 < clip < 1:
            raise ValueError(f"clip lies between 0.5 and 1, got {clip}")
        strangers = sorted(set(weights or {}) - set(WEIGHTS))
        if strangers:
            raise IncompatibleError(f"weights name {strangers}; the losses are {', '.join(WEIGHTS)}")
        if not all(0 <= weight < math.inf for weight in (weights or {}).values()):
            raise ValueError(f"weights are finite and not negative, got {dict(weights or {})}")
        super().__init__(path, times, None, condition_dropout)
        self.clip, self.draw, self.torsions_of, self.scale = clip, draw, torsions_of, types.scale
        self.weights = {**WEIGHTS, **(weights or {})}

    @property
    def kind(self) -> Kind:
        """Data, and a posterior of types."""
        return KIND

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Draw t and the point, ask once, compare."""
        n, generator, layout = batch_size(batch.x1), step.generator, batch.layout
        t = 1 - self.clip + (2 * self.clip - 1) * self.times.sample(n, Draw.like(batch.x1, generator))
        # Under autocast the network alone is asked in half precision: rotations are products of matrices.
        exact = torch.autocast(t.device.type, enabled=False)
        with exact:
            point = batch.point(self.path, t, generator)
            cond = drop(batch.cond, self.condition_dropout, n, generator)
            x_t: Any = point.x_t
            shown = self.shown(x_t, generator)
            shown = shown if layout is None else layout.hold(shown)
        said, layout = model(shown, t, **cond), layout or Layout()
        with exact:
            # What is said of padding and given entries, NaN perhaps, is taken out first.
            kept = {
                k: v.to(x_t[k]) if (own := layout.part(k)) is None else own.stand(v.to(x_t[k]), x_t[k])
                for k, v in said.items()
            }
            answer: Any = onto_space(self.path.geometry, KIND, x_t, kept)
            losses = self.losses(answer, point, layout, generator)
            total = torch.stack([self.weights[k] * v.mean() for k, v in losses.items()]).sum()
        return Loss(total, {k: v.detach().mean() for k, v in losses.items()})

    def shown(self, x: State, generator: torch.Generator | None) -> Any:
        """The state as the network sees it: types drawn, but for those that stand at a corner."""
        assert isinstance(x, dict)
        if not self.draw:
            return x
        logits: Any = x["types"]
        return {**x, "types": corners(standing_types(logits, self.scale, generator), self.scale).to(logits)}

    def losses(
        self, answer: Any, point: Point, layout: Layout, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """The six losses of every row, ``(batch,)`` each.

        Args:
            answer: of the network, on the space.
            point: where it was asked.
            layout: of the batch.
            generator: of the types whose torsions count.
        """
        x1: Any = point.x1
        x_t: Any = point.x_t
        t: Any = point.t
        free = {k: layout.at(k).free for k in PARTS}
        ids, speed = x1["types"].argmax(-1), 1 / (1 - t)
        counted = drawn_types(answer["types"], generator) if self.torsions_of == "predicted" else ids
        if layout.at("types").given is not None:
            counted = torch.where(layout.at("types").given, ids, counted)
        has = has_torsion(counted)
        turns = has if free["angles"] is None else has & expand(free["angles"], has)
        rigid = free["pos"] if free["rot"] is None else free["rot"]
        if free["pos"] is not None and free["rot"] is not None:
            rigid = free["pos"] & free["rot"]
        nats = nn.functional.cross_entropy(answer["types"].flatten(0, 1), ids.flatten(), reduction="none")
        atoms = backbone(answer["pos"], answer["rot"]) - backbone(x1["pos"], x1["rot"])
        space = self.path.geometry
        rot, angles = space.part("rot"), space.part("angles")
        turn = rot.log(x_t["rot"], answer["rot"]) - rot.log(x_t["rot"], x1["rot"])
        squares = {
            "pos": (answer["pos"] - x1["pos"]).square().sum(-1),
            "rot": _each(rot.inner_point(x_t["rot"], turn, turn)) * speed[:, None].square(),
            "atoms": atoms.square().sum((-2, -1)),
            "types": nats.reshape(ids.shape),
            "angles": _apart(angles, answer["angles"] - x_t["angles"], x1["angles"] - x_t["angles"])
            * speed[:, None, None].square(),
            "torsions": _apart(angles, answer["angles"], x1["angles"]),
        }
        entries = {**free, "atoms": rigid, "angles": turns, "torsions": turns}
        return {k: mean_of_entries(v, entries[k]) for k, v in squares.items()}

    def compare(self, prediction: State, point: Point, cond: Cond) -> State:
        """Not part by part: see `losses`.

        Raises:
            IncompatibleError: always; the losses of a peptide belong together.
        """
        raise IncompatibleError("pepflow compares all parts at once, and is no part of another objective")

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Corners that the codec puts elsewhere than the path."""
        yield from super().clashes(parts)
        codec = parts.get("codec")
        if isinstance(codec, PeptideChart) and codec.scale != self.scale:
            yield Clash(
                "codec",
                "path",
                f"peptide-chart puts types at plus and minus {codec.scale:g}, and simplex-logits ends at "
                f"{self.scale:g}; set codec.scale and path.parts.types.scale alike",
            )

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network, which sees drawn types."""
        return _Drawing(self, model, source)


class _Drawing(NetworkField):
    """The network's answer to a state whose types are drawn."""

    def __init__(self, objective: PepFlow, model: nn.Module, source: Source | None) -> None:
        super().__init__(model, KIND, objective.path, source)
        self.objective, self.stochastic = objective, objective.draw

    def __call__(self, x: State, t: Time, cond: Cond, generator: torch.Generator | None = None) -> State:
        return super().__call__(self.objective.shown(x, generator), t, cond)


def _each(squares: Tensor) -> Tensor:
    """One number a residue, where a flat space gives one an entry."""
    return squares if squares.ndim == 2 else squares.flatten(2).sum(2)


def _apart(space: Geometry, a: Tensor, b: Tensor) -> Tensor:
    """Half the squared distance of (sin, cos), their mean; of flat angles, half the squared difference."""
    if space.straight:
        return 0.5 * (a - b).square()
    return 0.5 * ((a.sin() - b.sin()).square() + (a.cos() - b.cos()).square())
