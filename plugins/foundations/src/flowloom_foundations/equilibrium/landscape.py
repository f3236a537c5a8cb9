"""The landscape of a network: an energy it spells out, or the gradient it answers with."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowloom.energies import Energy
from flowloom.layout import Layout
from flowloom.models import speak_for
from flowloom.models.attention import differentiable_twice
from flowloom.spec import Spec
from flowloom.state import Cond, State, Time, leaves, map_state, sum_event
from flowloom_foundations.equilibrium.blind import ask_blind

__all__ = ["Form", "Landscape", "Slope"]

Form = Literal["dot", "norm"]


class Landscape(Energy, nn.Module):
    r"""The explicit energy of a network that is not told the time (EqM-E, 2510.02300, section 3.3).

    .. math:: E(x) = \langle x, f(x) \rangle \quad (\text{dot}), \qquad E(x) = -\tfrac12 \|f(x)\|^2
        \quad (\text{norm})

    in nats, up to a constant and the scale at which it was trained; data lie in its valleys. Sums run over
    real and free entries.

    Args:
        model: f, in the shape of the states.
        form: ``dot`` or ``norm``.
    """

    def __init__(self, model: nn.Module, form: Form = "dot") -> None:
        nn.Module.__init__(self)
        self.model, self.form = model, form
        spec = getattr(model, "spec", None)
        self.spec = spec if isinstance(spec, Spec) else None

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """Energies ``(batch,)`` of states ``(batch, *event)``."""
        layout = None if self.spec is None else Layout.of(self.spec, cond)
        return self.under(x if layout is None else layout.fill(x), cond, layout)

    def under(self, x: State, cond: Cond, layout: Layout | None) -> Tensor:
        """The same where the layout is known, and padding filled."""
        answer = ask_blind(self.model, x, cond)
        if layout is not None:
            answer = layout.still(answer)
        terms = (
            map_state(lambda a, b: a * b, x, answer)
            if self.form == "dot"
            else map_state(lambda b: -0.5 * b.square(), answer)
        )
        return torch.stack([sum_event(leaf) for _, leaf in leaves(terms)]).sum(0)


class Slope(nn.Module):
    r"""The gradient :math:`\nabla_x E` of a landscape as a network: told, or derived from an energy.

    It points from data to noise, and takes a time only to ignore it.

    Args:
        model: any network; asked at time 0.
        form: of the energy it spells out; None where it answers with the gradient itself.
        layout: of the states, where conditions do not tell it.
    """

    def __init__(self, model: nn.Module, form: Form | None = None, layout: Layout | None = None) -> None:
        super().__init__()
        speak_for(self, model)
        self.spec = getattr(model, "spec", None)
        self.model, self.form, self.layout = model, form, layout
        if form is not None:
            self.jvp_safe = False

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """The gradient, in the shape of ``x``; itself differentiable where gradients are wanted."""
        if self.form is None:
            return ask_blind(self.model, x, cond)
        landscape, wanted = Landscape(self.model, self.form), torch.is_grad_enabled()
        layout = self.layout
        if layout is None and landscape.spec is not None:
            layout = Layout.of(landscape.spec, cond)
        with torch.enable_grad(), differentiable_twice() if wanted else nullcontext():
            # A state that is itself differentiated stays in its graph.
            point: Any = map_state(
                lambda v: v if wanted and v.requires_grad else v.detach().requires_grad_(), x
            )
            total = landscape.under(point, cond, layout).sum()
            inputs = [leaf for _, leaf in leaves(point)]
            slopes = iter(
                torch.autograd.grad(
                    total, inputs, create_graph=wanted, allow_unused=True, materialize_grads=True
                )
            )
            # Leaf by leaf in the order of `leaves`, which is that of `map_state`.
            return map_state(lambda _: next(slopes), point)
