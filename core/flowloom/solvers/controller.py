"""How long the next step of an adaptive solver is."""

from __future__ import annotations

__all__ = ["PIController"]


class PIController:
    r"""Gustafsson's proportional-integral rule (Hairer, Norsett and Wanner, II.4).

    After a step with scaled error :math:`e_n` (1 is what was asked for) of a method whose local error has
    order k, the next one is :math:`h\, s\, e_n^{-\alpha/k} e_{n-1}^{\beta/k}`; after a rejected one
    :math:`h\, s\, e_n^{-1/k}`.

    Args:
        safety: s.
        proportional: alpha.
        integral: beta; 0 is the classical rule.
        shrink: least factor.
        grow: greatest factor.
    """

    def __init__(
        self,
        safety: float = 0.9,
        proportional: float = 0.7,
        integral: float = 0.4,
        shrink: float = 0.2,
        grow: float = 10.0,
    ) -> None:
        if not 0 < safety < 1 or not 0 < shrink < 1 < grow:
            raise ValueError("safety and shrink must lie in (0, 1), and grow exceed 1")
        if proportional <= 0 or integral < 0:
            raise ValueError("proportional must be positive, and integral not negative")
        self.safety, self.proportional, self.integral = safety, proportional, integral
        self.shrink, self.grow = shrink, grow

    def accepted(self, error: float, previous: float, order: int) -> float:
        """Factor of the step after an accepted one."""
        ways = max(error, 1e-10) ** (-self.proportional / order) * previous ** (self.integral / order)
        return min(self.grow, max(self.shrink, self.safety * ways))

    def rejected(self, error: float, order: int) -> float:
        """Factor for another try."""
        return min(1.0, max(self.shrink, self.safety * error ** (-1 / order)))
