"""Laws: what a check is, when it applies, and how it says that a law is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from flowloom.data.base import Dataset
from flowloom.errors import FlowloomError
from flowloom.spec import Spec
from flowloom.state import Shape

if TYPE_CHECKING:
    from flowloom.flow import Flow

Make: TypeAlias = Callable[[], Any]
Check: TypeAlias = "Callable[[Make, Context], None]"


class LawBroken(AssertionError):  # noqa: N818  (it is a verdict, not an error of the program)
    """A component breaks a law of its kind; the message is one line."""


class NotApplicable(Exception):  # noqa: N818  (it is a verdict, not an error)
    """The check cannot be made here; the message says what is missing."""


@dataclass
class Context:
    """What a check may know beside the component, and where it reports what it measured.

    Args:
        seed: of everything the check draws.
        spec: of the states, for components that do not carry one (most networks).
        shape: event shape of one state, where it cannot be inferred from the component.
        data: a data set, for metrics, codecs, renderers, scores, tasks and objectives of one domain.
        flow: of the recipe that the component stands in: its geometry, source, codec (fitted) and network.
        slow: whether to run checks that take seconds.
    """

    seed: int = 0
    spec: Spec | None = None
    shape: Shape | None = None
    data: Dataset | None = None
    flow: Flow | None = None
    slow: bool = False
    deviation: float | None = field(default=None, init=False)
    tolerance: float | None = field(default=None, init=False)

    def generator(self, stream: int = 0) -> torch.Generator:
        """A fresh CPU generator; the same one for the same ``stream``."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + stream)

    def within(self, law: str, deviation: Tensor | float, tolerance: Tensor | float) -> None:
        """Assert that ``deviation <= tolerance`` entry by entry; NaN breaks every law.

        Raises:
            LawBroken: names the law, the worst deviation, its tolerance and the seed.
        """
        off = torch.as_tensor(deviation).detach().double().abs().flatten()
        allowed = torch.as_tensor(tolerance).detach().double().flatten().expand_as(off)
        if off.numel() == 0:
            return
        ratio = torch.where(off.isnan(), torch.inf, off / allowed.clamp_min(1e-300))
        worst = int(ratio.argmax())
        value, limit = float(off[worst]), float(allowed[worst])
        known = self.deviation is not None and self.tolerance is not None
        if not known or value * (self.tolerance or 0) >= (self.deviation or 0) * limit:
            self.deviation, self.tolerance = value, limit
        if not value <= limit:
            self.deviation, self.tolerance = value, limit
            raise LawBroken(f"{law}: worst deviation {value:.3g}, allowed {limit:.3g} (seed {self.seed})")

    def holds(self, law: str, truth: bool | Tensor, detail: str = "") -> None:
        """Assert a law that is true or false.

        Raises:
            LawBroken: names the law, the detail and the seed.
        """
        if not bool(torch.as_tensor(truth).all()):
            raise LawBroken(f"{law}{': ' if detail else ''}{detail} (seed {self.seed})")

    def of_no_rows(self, ask: Callable[[], Any]) -> Any:
        """What is answered to a batch of no rows; None where it is refused in one line.

        Raises:
            LawBroken: it raises what only a programmer would understand.
        """
        try:
            return ask()
        except FlowloomError as refusal:
            self.holds("a refusal is one line", "\n" not in str(refusal) and bool(str(refusal)))
            return None
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise LawBroken(
                f"no rows are answered with no rows, or refused in one line: {said} (seed {self.seed})"
            ) from error


@dataclass(frozen=True)
class Law:
    """What the decorator `law` attaches to a check.

    Args:
        statement: the law in words.
        when: whether it applies to a component.
        slow: whether it takes seconds.
    """

    statement: str
    when: Callable[[Any], bool]
    slow: bool = False


def law(
    statement: str, *, when: Callable[[Any], bool] = lambda _: True, slow: bool = False
) -> Callable[[Check], Check]:
    """Mark a function ``check_xxx(make, context)`` as a check.

    Args:
        statement: the law in one line, shown by ``flowloom check``.
        when: predicate on an instance; the check is left out where it is False.
        slow: run only where slow checks are asked for.

    Raises:
        TypeError: it stands without its statement, as ``@law``.
    """
    if not isinstance(statement, str):
        raise TypeError('a law is told in words, @law("what must hold"), got a bare @law')

    def mark(check: Check) -> Check:
        check.law = Law(statement, when, slow)  # type: ignore[attr-defined]
        return check

    return mark
