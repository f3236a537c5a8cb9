"""How fast speech is made, and how soon it can be heard."""

from __future__ import annotations

import time
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.scores import Score
from flowloom.state import Cond, State, with_batch
from flowloom_audio.rates import rate_of

__all__ = ["Pace"]


class Pace(Score):
    """Wall seconds of one utterance at a time, codec and all.

    ``real_time_factor`` is the time to make a second of sound; ``first_audio`` the seconds until the first
    ``frames`` frames are a waveform. Solvers that make frames one after the other are heard as they go; any
    other is heard when all is done.

    Args:
        n: utterances; the median is told.
        frames: of the first piece.
    """

    better: ClassVar[dict[str, Literal["lower", "higher"]]] = {
        "real_time_factor": "lower",
        "first_audio": "lower",
    }
    about: ClassVar = {
        "real_time_factor": "Seconds that a second of sound takes to make, one utterance at a time.",
        "first_audio": "Seconds until the first frames can be heard.",
    }

    def __init__(self, n: int = 5, frames: int = 8) -> None:
        if n < 1 or frames < 1:
            raise ValueError(f"n and frames count from 1, got {n} and {frames}")
        self.n, self.frames = n, frames

    def require(self, flow: Flow) -> None:
        """Ask for frames of sound.

        Raises:
            IncompatibleError: the flow has no codec of waveforms, whose rate is known.
        """
        if flow.codec is None or len(flow.codec.data_spec.shape) != 1:
            raise IncompatibleError("score pace times flows of sound; use a codec of waveforms (log-mel)")
        rate_of(flow.codec.data_spec, None, "score pace")

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """Both; of the examples the conditions are used."""
        self.require(flow)
        if not len(examples):
            raise ShapeError("score pace: there is no example whose conditions to draw under")
        assert flow.codec is not None
        rate = rate_of(flow.codec.data_spec, None, "score pace")
        hidden = (*flow.objective.invents, *flow.spec.named("judged"))
        told = {name: value for name, value in examples.cond.items() if name not in hidden}
        factors, firsts = [], []
        for i, row in enumerate(examples.evenly(self.n).tolist()):
            cond = {name: value[row : row + 1] for name, value in told.items()}
            began = time.perf_counter()
            sound, first = self._said(flow, cond, seed + i, began)
            spent = time.perf_counter() - began
            factors.append(spent * rate / max(sound, 1))
            firsts.append(first or spent)
        return {
            "real_time_factor": float(torch.tensor(factors).median()),
            "first_audio": float(torch.tensor(firsts).median()),
        }

    def _said(self, flow: Flow, cond: Cond, seed: int, began: float) -> tuple[int, float]:
        """Samples of one utterance, and seconds since ``began`` when its first piece was sound.

        The latter is 0 where nothing can be heard before all is done.
        """
        draws = torch.Generator(flow.device).manual_seed(seed)
        made, first = 0, 0.0

        def listen(x: State, t: float) -> None:
            nonlocal made, first
            made += 1
            if made == self.frames and getattr(flow.solver, "streams", False):
                assert isinstance(x, Tensor)
                every = torch.ones(1, made, dtype=torch.bool, device=x.device)
                self._sound(flow, x[:, :made], {**cond, **dict.fromkeys(flow.spec.named("real"), every)})
                first = time.perf_counter() - began

        with flow.evaluating():
            cond = flow.objective.complete(cond, 1, draws)
            shape = with_batch(flow.spec.event_shape(), 1)
            x0 = flow.source.sample(shape, Draw(draws, flow.device, flow.dtype), cond=cond)
            solution = flow.solver.solve(
                flow.field(), x0, cond=cond, generator=draws, on_step=listen, layout=flow.layout(cond)
            )
            assert isinstance(solution.x, Tensor)
            return self._sound(flow, solution.x, solution.cond), first

    @staticmethod
    def _sound(flow: Flow, frames: Tensor, cond: Cond) -> int:
        """Make frames heard; how many of their samples are real."""
        said = flow.decode(Examples(frames, cond))
        assert isinstance(said.x, Tensor)
        assert flow.codec is not None
        layout = Layout.of(flow.codec.data_spec, said.cond)
        return said.x.shape[1] if layout is None or layout.real is None else int(layout.real.sum())
