"""Sound in a report: players with spectrograms beside them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import ShapeError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.renderers import Figure, Renderer
from flowloom.spec import Spec
from flowloom.state import State
from flowloom_audio.codecs.mel import Mel
from flowloom_audio.coders.base import WaveCoder
from flowloom_audio.data.sound import as_wav
from flowloom_audio.rates import rate_of
from flowloom_audio.text.alignment import spread
from flowloom_audio.text.picture import alignment_picture

__all__ = ["AudioPlayers"]


class AudioPlayers(Renderer):
    """A table of players, generated beside real, each over its spectrogram, with what was asked for.

    Everything is inside the page: sounds as WAV, spectrograms as PNG.

    Args:
        spec: of the data; injected from the recipe.
        rate: samples a second; the data's own where None.
        rows: most examples on a side.
        frames: most moments shown of a trajectory.
    """

    def __init__(self, spec: Spec, rate: int | None = None, rows: int = 8, frames: int = 6) -> None:
        if rows < 1 or frames < 2:
            raise ValueError(f"rows must be at least 1, frames 2; got {rows} and {frames}")
        self.rate, self.rows, self.frames = rate_of(spec, rate, "renderer audio"), rows, frames
        self.conditions = dict(spec.conditions)
        hop = max(1, self.rate // 125)
        self._mel = Mel(self.rate, 48, 4 * hop, hop)

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Players and spectrograms, row by row."""
        n = min(self.rows, len(samples))
        other = real if real is not samples else None
        heads = ["asked for", "generated", *(["real (another take)"] if other is not None else [])]
        lines: list[list[str]] = []
        for i in range(n):
            cells = [html.escape(self._asked(samples, i)), self._heard(samples, i)]
            if other is not None:
                cells.append(
                    self._heard(other, i % len(other))
                    + f"<br>{html.escape(self._asked(other, i % len(other)))}"
                )
            lines.append(cells)
        return [self._table("Sounds", heads, lines)]

    def answers(self, asked: Examples | None, answered: Examples, truth: Examples) -> list[Figure]:
        """Players and spectrograms: asked, answered, truth, row by row."""
        sides = [("asked", asked), ("answered", answered), ("truth", truth)]
        shown = [(name, side) for name, side in sides if side is not None]
        lines = [
            [html.escape(self._asked(answered, i)), *(self._heard(side, i) for _, side in shown)]
            for i in range(min(self.rows, len(truth)))
        ]
        return [self._table("Answers", ["asked for", *(name for name, _ in shown)], lines)]

    def files(self, examples: Examples) -> list[Figure]:
        """Every sound as a WAV file."""
        waves = (self._wave_of(examples, row) for row in range(len(examples)))
        return [Figure(f"Sound {i + 1}", "audio/wav", as_wav(w, self.rate)) for i, w in enumerate(waves)]

    def flow(self, flow: Flow, real: Examples) -> list[Figure]:
        """Of a coder: recordings beside what it makes of them."""
        if not isinstance(flow.model, WaveCoder):
            return []
        few = real.take(torch.arange(min(self.rows, len(real))))
        here = few.to(flow.device)
        assert isinstance(here.x, Tensor)
        with torch.no_grad(), flow.evaluating():
            coded = flow.model(here.x, here.x.new_zeros(len(here)), **here.cond).cpu()
        sides = (few, Examples(coded, few.cond, few.layout))
        lines = [[self._heard(side, i) for side in sides] for i in range(len(few))]
        return [self._table("Coded and back", ["recorded", "through the coder"], lines)]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """Spectrograms of the first row on its way from noise to sound."""
        picked = torch.linspace(0, len(states) - 1, min(self.frames, len(states))).round().long().tolist()
        cells = []
        for i in dict.fromkeys(picked):
            wave = _wave(states[i])[0]
            cells.append(f'<td style="padding:4px">t = {times[i]:.2f}<br>{self._picture(wave)}</td>')
        table = f"<table><tr>{''.join(cells)}</tr></table>"
        return [Figure("From source to data", "text/html", table.encode())]

    def _table(self, title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> Figure:
        cells = [[f'<td style="padding:4px 12px">{cell}</td>' for cell in line] for line in lines]
        rows = "".join(f"<tr>{''.join(line)}</tr>" for line in cells)
        head = "".join(f'<th style="text-align:left;padding:4px 12px">{name}</th>' for name in heads)
        table = f'<table style="border-collapse:collapse"><tr>{head}</tr>{rows}</table>'
        caption = f"{self.rate} Hz. Spectrograms: log-mel, low bands below, from -60 dB."
        text = self.conditions.get("text")
        if text is not None and text.names:
            caption += (
                " Under them the text: at the frames that its durations give it, where there are some, and "
                "else spread evenly, as networks are told it."
            )
        return Figure(title, "text/html", table.encode(), caption)

    def _asked(self, examples: Examples, row: int) -> str:
        """The conditions of a row that can be said in words."""
        said = []
        for name, condition in self.conditions.items():
            value = examples.cond.get(name)
            if value is None or condition.classes is None:
                continue
            if len(condition.shape) == 1 and condition.names:
                said.append("".join(condition.names[int(i)] for i in value[row]))
            elif not condition.shape:
                which = int(value[row])
                said.append(condition.names[which] if condition.names else f"{name} {which}")
        return ", ".join(said)

    def _wave_of(self, examples: Examples, row: int) -> Tensor:
        """The waveform of a row, without padding."""
        wave = _wave(examples.x)[row]
        real = (examples.layout or Layout()).real
        return wave if real is None else wave[: max(1, int(real[row].sum()))]

    def _heard(self, examples: Examples, row: int) -> str:
        wave = self._wave_of(examples, row)
        sound = base64.b64encode(as_wav(wave, self.rate)).decode()
        player = f'<audio controls style="width:220px" src="data:audio/wav;base64,{sound}"></audio>'
        return f"{player}<br>{self._picture(wave)}{self._text_over(examples, row, len(wave))}"

    def _text_over(self, examples: Examples, row: int, samples: int) -> str:
        """Which symbol is offered at which frame, under the spectrogram; nothing where the data have no text.

        Durations are those of the flow or of the data. Without them it is the even spread that networks are
        told: where they say a symbol they decide themselves.
        """
        text, ids = self.conditions.get("text"), examples.cond.get("text")
        if text is None or ids is None or not text.names:
            return ""
        known = [i for i, name in enumerate(ids[row].tolist()) if text.names[name]]
        if not known:
            return ""
        symbols = [text.names[i] for i in ids[row, known].tolist()]
        durations = examples.cond.get("durations")
        if durations is None:
            frames = -(-samples // self._mel.hop)
            said = spread(torch.tensor([len(symbols)]), torch.tensor([frames]), frames)[0]
        else:
            lasting = durations[row, known].long().cpu()
            said = torch.arange(len(symbols)).repeat_interleave(lasting)
        return f"<br>{alignment_picture(symbols, said)}"

    def _picture(self, wave: Tensor) -> str:
        """The spectrogram of a waveform ``(samples,)`` as an image inside the page."""
        from matplotlib import colormaps
        from PIL import Image

        whole = torch.nan_to_num(torch.nn.functional.pad(wave.float(), (0, -len(wave) % self._mel.hop)))
        frames = self._mel(whole[None])[0].T.flip(0)
        shade = ((frames - frames.max() + 6) / 6).clamp(0, 1)
        pixels = (colormaps["magma"](shade.numpy())[..., :3] * 255).astype("uint8")
        buffer = io.BytesIO()
        Image.fromarray(pixels).resize((220, 96)).save(buffer, "PNG")
        picture = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="spectrogram" width="220" height="96" src="data:image/png;base64,{picture}">'


def _wave(state: State) -> Tensor:
    if not isinstance(state, Tensor) or state.ndim != 2:
        raise ShapeError("renderer audio shows waveforms (batch, samples); decode states first")
    return state.detach().cpu()
