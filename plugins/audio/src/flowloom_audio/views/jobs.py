"""Several front-end jobs in one batch: what to undo is drawn for every row, and said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.spec import Condition, Spec
from flowloom.state import expand
from flowloom.views import View
from flowloom.views.base import plus
from flowloom_audio.rates import rate_of
from flowloom_audio.views.degrade import AddNoise, Reverberate
from flowloom_audio.waveforms import require_waves

__all__ = ["FrontEnd", "Job"]

Job = Literal["enhance", "dereverberate", "extract"]


class FrontEnd(View):
    """A degraded copy of every recording, of a job drawn for its row, with the job as a class (UniFlow).

    ``enhance`` takes noise away, ``dereverberate`` the echo of a room, ``extract`` another speaker, for which
    the data come with mixtures (``mix``) and a prompt of the wanted voice. Where a job needs no prompt there
    is silence in its place, so that a network cannot tell the voice from it.

    Args:
        jobs: to draw from, each as often.
        rate: samples a second.
        snr: of the noise in dB.
        seconds: in which the echo falls by 60 dB.
        reference: name of the prompt, silent where the job needs none; empty for none.
        name: of the copy.
    """

    def __init__(
        self,
        jobs: Sequence[Job] = ("enhance", "dereverberate", "extract"),
        rate: int = 8000,
        snr: tuple[float, float] = (0.0, 15.0),
        seconds: tuple[float, float] = (0.2, 0.5),
        reference: str = "prompt",
        name: str = "degraded",
    ) -> None:
        unknown = [job for job in jobs if job not in get_args(Job)]
        if unknown or not jobs:
            raise ValueError(
                f"jobs are some of {', '.join(get_args(Job))}, not {', '.join(unknown) or 'none'}"
            )
        self.jobs, self.reference, self.name = tuple(jobs), reference, name
        self.noise = AddNoise(snr, name="copy")
        self.room = Reverberate(seconds, rate, (0.3, 1.0), name="copy")

    def spec(self, spec: Spec) -> Spec:
        """With the copy and the class ``job``."""
        require_waves(spec, "view front-end")
        rate_of(spec, self.room.rate, "view front-end")
        mixed = spec.conditions.get(self.name)
        if "extract" in self.jobs and (mixed is None or mixed.shape != spec.shape):
            raise IncompatibleError(
                f"view front-end: job extract wants mixtures as the condition '{self.name}'; set data.mix"
            )
        if "extract" in self.jobs and self.reference and self.reference not in spec.conditions:
            raise IncompatibleError(
                f"view front-end: job extract wants a condition '{self.reference}'; set data.prompt"
            )
        told = plus(spec, "front-end", job=Condition(len(self.jobs), names=self.jobs))
        return told if mixed is not None else told.plus({self.name: Condition(shape=spec.shape)})

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """The same examples with the copy and its job."""
        job = torch.randint(len(self.jobs), (len(examples),), generator=generator)
        clean = (examples.layout or Layout()).zero(examples.x)
        plain = Examples(clean, {}, examples.layout)
        copy = torch.zeros_like(clean)
        for i, name in enumerate(self.jobs):
            made = {
                "enhance": lambda: self.noise(plain, generator).cond["copy"],
                "dereverberate": lambda: self.room(plain, generator).cond["copy"],
                "extract": lambda: examples.cond[self.name],
            }[name]()
            copy = torch.where(expand(job == i, made), made, copy)
        cond = {**examples.cond, self.name: copy, "job": job}
        if self.reference in cond:
            wanted = torch.tensor([name == "extract" for name in self.jobs])[job]
            voice = cond[self.reference]
            cond[self.reference] = torch.where(expand(wanted, voice), voice, torch.zeros_like(voice))
        return Examples(examples.x, cond)
