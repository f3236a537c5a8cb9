"""Sequences as HTML: text, DNA in colour, prompts marked, tokens appearing over time."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import ShapeError
from flowloom.layout import Layout
from flowloom.renderers import Figure, Renderer
from flowloom.spec import Spec
from flowloom.state import State
from flowloom_sequences.data.vocabulary import DNA

_COLOURS = {"A": "#2a8c3c", "C": "#2b5fb8", "G": "#c98a00", "T": "#c0392b"}
_STYLE = "font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.5"
_MASK = '<span style="opacity:.35">·</span>'


class SequenceText(Renderer):
    """Samples as escaped text beside real ones.

    Letters of DNA are coloured, tokens of a prompt are underlined, tokens that still show the mask are dots,
    and points of a simplex show their likeliest token, paler the less it is decided. With classes and DNA,
    the share of each letter at each place is drawn as a logo of stacked letters.

    Args:
        spec: of the states, for the text of tokens and names of classes; injected from the recipe.
        rows: most sequences on a side.
        frames: most times shown of a trajectory.
        logo: draw the logo for DNA.
    """

    def __init__(self, spec: Spec | None = None, rows: int = 8, frames: int = 8, logo: bool = True) -> None:
        if rows < 1 or frames < 2:
            raise ValueError(f"rows must be at least 1 and frames at least 2, got {rows} and {frames}")
        self.rows, self.frames, self.logo = rows, frames, logo
        self.tokens = spec.tokens if spec is not None else ()
        label = spec.conditions.get("label") if spec is not None else None
        self.names = label.names if label is not None else ()

    def misfit(self, spec: Spec) -> str:
        """Anything but sequences of tokens, or of points of a simplex."""
        if not spec.parts and (len(spec.shape) == 1 if spec.discrete else len(spec.shape) == 2):
            return ""
        return f"renderer sequence-text shows sequences of tokens, (length,); the data have {spec.in_words()}"

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Generated sequences beside real ones, and a logo where they are DNA."""
        table = self._beside({"generated": samples, "real": real})
        figures = [Figure("Sequences", "text/html", table.encode())]
        if self.logo and "".join(self.tokens) == DNA and isinstance(samples.x, Tensor):
            figures.append(
                Figure("Letters by place", "text/html", self._logo(samples).encode(), "Generated sequences.")
            )
        return figures

    def answers(self, asked: Examples | None, answered: Examples, truth: Examples) -> list[Figure]:
        """Answers beside the truth of the same rows; what was given is underlined in both."""
        table = self._beside({"answered": answered, "truth": truth})
        return [Figure("Answers", "text/html", table.encode(), "What was given is underlined.")]

    def _beside(self, sides: Mapping[str, Examples]) -> str:
        """A table with a column for each set of examples."""
        cells = []
        for title, examples in sides.items():
            body = "".join(f'<div style="{_CELL}">{row}</div>' for row in self._rows(examples))
            cells.append(
                f'<td style="vertical-align:top;width:{100 // len(sides)}%"><b>{title}</b>{body}</td>'
            )
        return f'<table style="width:100%;table-layout:fixed"><tr>{"".join(cells)}</tr></table>'

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """A few sequences at each kept time, tokens appearing."""
        kept = torch.linspace(0, len(states) - 1, min(self.frames, len(states))).round().long().tolist()
        blocks = []
        for row in range(min(2, len(_tensor(states[0])))):
            lines = []
            for i in kept:
                state = _tensor(states[i])[row : row + 1]
                text = self._rows(Examples(state))[0]
                lines.append(
                    f'<tr><td style="color:#888;padding-right:1em;vertical-align:top">{times[i]:.2f}</td>'
                    f'<td style="{_STYLE}">{text}</td></tr>'
                )
            blocks.append(f"<table>{''.join(lines)}</table>")
        return [Figure("From source to data", "text/html", "<hr>".join(blocks).encode(), "Time at the left.")]

    def tiles(self, examples: Examples) -> list[Figure]:
        """Each sequence by itself."""
        rows = self._rows(examples, len(examples))
        return [
            Figure("Sequence", "text/html", f'<div style="{_STYLE}">{row}</div>'.encode()) for row in rows
        ]

    def _rows(self, examples: Examples, most: int | None = None) -> list[str]:
        x = _tensor(examples.x)[: self.rows if most is None else most].detach().cpu()
        sure = None
        if x.is_floating_point():
            sure, x = x.clamp(0, 1).amax(-1), x.argmax(-1)
        layout = examples.layout or Layout()
        mask, given = layout.real, layout.given
        label = examples.cond.get("label")
        rows = []
        for i, ids in enumerate(x.tolist()):
            pieces = []
            for j, token in enumerate(ids):
                if mask is not None and not bool(mask[i, j]):
                    continue
                fixed = given is not None and bool(given[i, j])
                pieces.append(self._token(token, fixed, 1.0 if sure is None else float(sure[i, j])))
            head = ""
            if label is not None:
                number = int(label[i])
                name = self.names[number] if number < len(self.names) else str(number)
                head = f'<span style="color:#888">[{html.escape(name)}] </span>'
            rows.append(head + "".join(pieces))
        return rows

    def _token(self, token: int, fixed: bool, sure: float) -> str:
        if self.tokens and token >= len(self.tokens):
            return _MASK
        text = self.tokens[token] if self.tokens else f"{token} "
        shown, style = html.escape(text), ""
        if text in _COLOURS and "".join(self.tokens) == DNA:
            style += f"color:{_COLOURS[text]};"
        if fixed:
            style += "text-decoration:underline;background:#8883;"
        if sure < 0.99:
            style += f"opacity:{0.25 + 0.75 * sure:.2f};"
        return f'<span style="{style}">{shown}</span>' if style else shown

    def _logo(self, samples: Examples) -> str:
        """Stacked letters, each as high as its share times the information of its place (bits)."""
        x = _tensor(samples.x).cpu()
        share = torch.stack([(x == k).double().mean(0) for k in range(4)], 1)
        bits = 2 + torch.where(share > 0, share * share.clamp_min(1e-12).log2(), 0).sum(1)
        width, height = 12, 80
        letters = []
        for place in range(x.shape[1]):
            y = float(height)
            for k in share[place].argsort().tolist():
                h = float(share[place, k] * bits[place]) / 2 * height
                if h >= 0.5:
                    y_text = y
                    letters.append(
                        f'<text transform="translate({place * width},{y_text:.1f}) scale(1,{h / 9:.3f})" '
                        f'fill="{_COLOURS[DNA[k]]}" font-family="monospace" font-size="13">{DNA[k]}</text>'
                    )
                    y -= h
        return (
            f'<div style="overflow-x:auto"><svg width="{x.shape[1] * width}" height="{height + 4}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(letters)}</svg></div>'
        )


_CELL = _STYLE + ";border-top:1px solid #8885;padding:.4em .4em"


def _tensor(state: State) -> Tensor:
    if not isinstance(state, Tensor):
        raise ShapeError(f"renderer sequence-text shows one tensor of tokens, not the parts {sorted(state)}")
    return state
