"""Rows of training data to hold beside held-out ones: as many of every class."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.seeds import derive
from flowloom_registry.runs.assembly import rows_of

_LOOKED_AT = 50
"""Training rows looked at, at most, for every row wanted."""


def matched_rows(data: Dataset, like: Examples, by: str | None, seed: int) -> Examples | None:
    """Random rows of ``data``, class for class as many as ``like`` has, in the order of their classes there.

    What perfect samples would score is of rows under the same classes; other shares of them would be another
    law. A class of which too few rows are found (among 50 for each wanted) gives those again and again; one
    of which there is none is left out.

    Args:
        data: training rows.
        like: held-out rows.
        by: condition that is the class; any rows, as many, where None.
        seed: of the choice.

    Returns:
        None where there is no row of any of these classes.
    """
    if by is None or by not in like.cond:
        return rows_of(data, len(like), seed)
    draws = torch.Generator().manual_seed(derive(seed, "evaluate"))
    order = torch.randperm(len(data), generator=draws)[: _LOOKED_AT * len(like)]
    wanted, chosen = like.cond[by], torch.full((len(like),), -1)
    values, counts = wanted.unique(return_counts=True)
    classes = torch.zeros(0, dtype=wanted.dtype)
    # Rows may be files: no more of them are read than it takes.
    for rows in order.split(len(like)):
        classes = torch.cat([classes, data.take(rows).cond[by]])
        if all(int((classes == v).sum()) >= int(n) for v, n in zip(values, counts, strict=True)):
            break
    order = order[: len(classes)]
    for value in values:
        places = (wanted == value).nonzero()[:, 0]
        members: Tensor = order[classes == value]
        if len(members):
            chosen[places] = members[torch.arange(len(places)) % len(members)]
    found = chosen[chosen >= 0]
    return data.take(found) if len(found) else None
