"""Laws of couplings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.couplings import Coupling
from flowloom.draw import Draw
from flowloom.geometry import Euclidean, Geometry
from flowloom.layout import Layout
from flowloom.state import State, batch_size, leaves, map_state, take, with_batch
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import draw_points, gap, marks_like, power_shape, spoiled

CLASSES = 3


def _confined(coupling: Coupling) -> bool:
    return getattr(coupling, "within", None) is not None


def _permutes(coupling: Coupling) -> bool:
    return coupling.permutation


def _replaces(coupling: Coupling) -> bool:
    return not coupling.permutation


def _rearranges(coupling: Coupling) -> bool:
    return not coupling.moves


def _moves(coupling: Coupling) -> bool:
    return coupling.moves


def _ends(coupling: Any, context: Context, n: int) -> tuple[Any, Any, dict[str, Tensor]]:
    geometry: Geometry = getattr(coupling, "geometry", None) or Euclidean()
    x0, x1 = draw_points(geometry, context, n, 1), draw_points(geometry, context, n, 2)
    label = torch.randint(CLASSES, (n,), generator=context.generator(3))
    return x0, x1, {getattr(coupling, "within", None) or "label": label}


def _rows(coupling: Coupling, context: Context, n: int, stream: int = 4) -> Tensor:
    x0, x1, cond = _ends(coupling, context, n)
    rows = coupling.rows(x0, x1, cond, generator=context.generator(stream))
    return torch.arange(n) if rows is None else rows


@law("rows are int64 indices of x0, one for each row of x1")
def check_rows_are_indices(make: Make, context: Context) -> None:
    """For batches of 1, 2, 7 and 64 rows; None stands for the order they came in."""
    coupling = make()
    for n in (1, 2, 7, 64):
        rows = _rows(coupling, context, n)
        right = rows.dtype == torch.long and tuple(rows.shape) == (n,)
        context.holds("rows are int64 of shape (n,)", right, f"{rows.dtype} {tuple(rows.shape)}")
        context.holds("rows are in range", bool(((rows >= 0) & (rows < n)).all()))


@law("every row of x0 is used exactly once", when=_permutes)
def check_rows_are_a_permutation(make: Make, context: Context) -> None:
    """Resampling thins out the source; couplings that do it say ``permutation = False``."""
    coupling = make()
    for n in (1, 2, 7, 64):
        counts = torch.bincount(_rows(coupling, context, n).clamp(0, n - 1), minlength=n)
        context.within(f"uses of each of {n} rows of x0, minus one", counts - 1, 0)


@law("every row of x0 is used once on average", when=_replaces)
def check_marginal_in_expectation(make: Make, context: Context) -> None:
    """Over 400 draws of the same batch of 12 rows."""
    coupling = make()
    x0, x1, cond = _ends(coupling, context, 12)
    generator = context.generator(4)
    counts = torch.zeros(12)
    for _ in range(400):
        rows = coupling.rows(x0, x1, cond, generator=generator)
        counts += torch.bincount(torch.arange(12) if rows is None else rows, minlength=12)
    context.within("mean uses of each row of x0, minus one", counts / 400 - 1, 0.25)


@law("pairs never cross the groups they are confined to", when=_confined)
def check_within_groups(make: Make, context: Context) -> None:
    """Row i of x1 gets a row of x0 that came with the same class."""
    coupling = make()
    for n in (1, 7, 64):
        *_, cond = _ends(coupling, context, n)
        groups = next(iter(cond.values()))
        crossing = (groups[_rows(coupling, context, n)] != groups).sum()
        context.within("pairs that cross groups", crossing, 0)


@law("the generator determines the pairs, and x0 and x1 are left as they were")
def check_follows_its_generator(make: Make, context: Context) -> None:
    """Equal seeds give equal pairs, whatever the global generator (or numpy's) holds."""
    coupling = make()
    x0, x1, cond = _ends(coupling, context, 16)
    copies = map_state(Tensor.clone, x0), map_state(Tensor.clone, x1)
    first = coupling.rows(x0, x1, cond, generator=context.generator(4))
    torch.rand(1)
    second = coupling.rows(x0, x1, cond, generator=context.generator(4))
    same = first is second if first is None or second is None else torch.equal(first, second)
    context.holds("equal seeds give equal pairs", same)
    context.holds("x0 and x1 are not changed", gap(x0, copies[0]) == 0 and gap(x1, copies[1]) == 0)


@law("pairs depend on the points, not on the order they come in")
def check_order_does_not_matter(make: Make, context: Context) -> None:
    """Shuffling the rows of x1 shuffles the answer alike, for couplings that do not draw."""
    coupling = make()
    n = 24
    x0, x1, cond = _ends(coupling, context, n)
    first = coupling.rows(x0, x1, cond, generator=context.generator(4))
    other = coupling.rows(x0, x1, cond, generator=context.generator(5))
    if first is None or other is None or not torch.equal(first, other):
        raise NotApplicable("the coupling draws, or keeps the order")
    if _confined(coupling):
        raise NotApplicable("groups tie rows of x0 and x1 together")
    order = torch.randperm(n, generator=context.generator(6))
    shuffled = coupling.rows(x0, take(x1, order), cond, generator=context.generator(4))
    context.holds(
        "shuffled x1 gives shuffled pairs", shuffled is not None and torch.equal(shuffled, first[order])
    )


@law("pairs are no further apart than pairs made by chance")
def check_cost_is_not_raised(make: Make, context: Context) -> None:
    """Mean squared distance over 64 pairs against the mean over all pairs, with room for luck."""
    coupling: Any = make()
    geometry: Geometry = getattr(coupling, "geometry", None) or Euclidean()
    x0, x1, _ = _ends(coupling, context, 64)
    paired = geometry.distance(take(x0, _rows(coupling, context, 64)), x1).square().mean()
    i, j = torch.cartesian_prod(torch.arange(64), torch.arange(64)).T
    chance = geometry.distance(take(x0, i), take(x1, j)).square().mean()
    context.within("mean squared distance of pairs, relative to chance", paired / chance, 1.4)


@law("pairing rearranges x0 and invents nothing, unless it says that it moves points", when=_rearranges)
def check_pairing_rearranges(make: Make, context: Context) -> None:
    """Every entry of the paired x0 is one of x0; as often as there, unless the coupling replaces."""
    coupling = make()
    x0, x1, cond = _ends(coupling, context, 16)
    paired = coupling.pair(x0, x1, cond, generator=context.generator(4))
    for (name, before), (_, after) in zip(leaves(x0), leaves(paired), strict=True):
        context.holds("paired x0 keeps its shape", after.shape == before.shape, name)
        if coupling.permutation:
            off = gap(before.flatten().sort().values, after.flatten().sort().values)
            context.within("entries of x0, sorted, before - after pairing", off, 0)
        else:
            strangers = ~torch.isin(after, before)
            context.within("entries that x0 does not have", strangers.sum(), 0)


@law("moving points keeps how far they are from each other, and brings them no further from x1", when=_moves)
def check_moves_are_symmetries(make: Make, context: Context) -> None:
    """Distances between the points of a row, sorted, before and after; and those of pairs."""
    coupling: Any = make()
    geometry: Geometry = getattr(coupling, "geometry", None) or Euclidean()
    n, length = 16, 5
    shape = with_batch(power_shape(geometry, length), n)
    x0, x1 = (geometry.random(shape, Draw(context.generator(k), dtype=torch.float64)) for k in (8, 9))
    paired = coupling.pair(x0, x1, {}, generator=context.generator(4))
    i, j = torch.triu_indices(length, length, 1)
    for (name, a), (_, b), (_, end) in zip(leaves(x0), leaves(paired), leaves(x1), strict=True):
        space = geometry
        for step in name.split(".") if name else ():
            space = space.part(step)
        if not space.continuous or a.ndim < 3:
            context.holds("what has no points is left alone", torch.equal(a, b), name)
            continue
        apart = [
            space.distance_point(v[:, i], v[:, j]).square().reshape(n, len(i), -1).sum(-1).sort(1).values
            for v in (a, b)
        ]
        context.within(f"distances inside a row {name}".rstrip(), apart[0] - apart[1], 1e-9 * (1 + apart[0]))
        cost = [space.distance(v, end).square() for v in (a, b)]
        rise = (cost[1] - cost[0]).clamp_min(0)
        context.within(f"squared distance to x1 that was added {name}".rstrip(), rise, 1e-9 * (1 + cost[0]))


@law("what is padding or given pairs nobody")
def check_layout_is_respected(make: Make, context: Context) -> None:
    """Rubbish in padding, and other values at given entries, leave the pairs as they were."""
    coupling: Any = make()
    geometry: Geometry = getattr(coupling, "geometry", None) or Euclidean()
    n, length = 16, 4
    shape = with_batch(power_shape(geometry, length), n)
    draws = context.generator(7)
    try:
        x0, x1, other = (geometry.random(shape, Draw(draws)) for _ in "abc")
    except Exception as error:
        raise NotApplicable(f"rows of several points do not fit this geometry: {error}") from error
    label = torch.randint(CLASSES, (n,), generator=draws)
    cond = {getattr(coupling, "within", None) or "label": label}
    real = marks_like(x1, torch.arange(length) < torch.randint(1, length + 1, (n, 1), generator=draws))
    given = marks_like(x1, torch.rand(n, length, generator=draws) < 0.3)
    layout = Layout(real, given)

    def paired(x: State) -> State:
        copies = map_state(Tensor.clone, x0), map_state(Tensor.clone, x)
        return coupling.pair(*copies, cond, layout, generator=context.generator(4))

    first = paired(x1)
    context.holds("rubbish in padding changes no pair", gap(paired(spoiled(x1, real)), first) == 0)
    context.holds("given entries change no pair", gap(paired(layout.holding(other).hold(x1)), first) == 0)


@law("no rows are paired with no rows, or refused in one line")
def check_no_rows(make: Make, context: Context) -> None:
    """With conditions of no rows as well."""
    coupling = make()
    x0, x1, cond = _ends(coupling, context, 0)
    found = context.of_no_rows(lambda: coupling.pair(x0, x1, cond, generator=context.generator(4)))
    if found is not None:
        context.holds("there are no rows", batch_size(found) == 0, f"{batch_size(found)}")
