"""What a data set left out, and why: every row is named, and all of them are counted."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flowloom.errors import DataError


class Refusal(Exception):  # noqa: N818  (it is an answer, not an error of the program)
    """A row that cannot be used; the message is the reason, in a few words that rows can share."""


@dataclass(frozen=True)
class Refused:
    """One row that was left out.

    Args:
        row: of the file, counted from 1 below the header; or the name of a file.
        what: what stood there, shortened.
        reason: why it cannot be used.
    """

    row: int | str
    what: str
    reason: str


def report(refused: Sequence[Refused], total: int, where: str, show: int = 5) -> None:
    """Warn once of all rows left out, by reason, the first few of each by name.

    Args:
        refused: rows left out.
        total: rows read.
        where: the file.
        show: rows named for each reason.

    Raises:
        DataError: nothing is left.
    """
    if not refused and total:
        return
    lines = "; ".join(_told(refused, show))
    if len(refused) >= total:
        raise DataError(f"{where}: none of {total} rows can be used{f': {lines}' if lines else ''}")
    warnings.warn(f"{where}: {len(refused)} of {total} rows are left out: {lines}", stacklevel=2)


def _told(refused: Sequence[Refused], show: int) -> Iterable[str]:
    for reason, count in Counter(one.reason for one in refused).most_common():
        rows = [str(one.row) for one in refused if one.reason == reason]
        more = ", ..." if count > show else ""
        yield f"{reason}: {count} (row{'s' if count > 1 else ''} {', '.join(rows[:show])}{more})"
