"""Images in several styles, with captions: what a small joint encoder learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.spec import Condition, Spec

__all__ = ["STYLES", "Styled", "tokens_of"]

STYLES: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda x: x,
    "inverted": lambda x: -x,
    "bold": lambda x: F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-1.0), 2, 1),
    "thin": lambda x: (2 * x - 1).clamp_min(-1),
    "blurred": lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1), value=-1.0), 3, 1),
}
"""What a style makes of images in [-1, 1], ``(n, C, H, W)``, whose paper is -1."""

_LENGTH = 4  # words of the longest caption


class Styled(Dataset):
    """Every image of another data set in every style, with a caption: "an inverted digit 3".

    Every other row leaves the class out of its caption. Captions are the condition ``words``, ids of words;
    class and style are told to judges.

    Args:
        of: images with classes, in [-1, 1].
        styles: of `STYLES`.
        noun: what the images show.
        told: False leaves captions out, for a generator without conditions.
        label: the condition of ``of`` that says the class.

    Raises:
        DataError: there is no such style.
        IncompatibleError: the data are no images with classes.
    """

    def __init__(
        self,
        of: Dataset,
        styles: Sequence[str] = tuple(STYLES),
        noun: str = "digit",
        told: bool = True,
        label: str = "label",
    ) -> None:
        for style in styles:
            if style not in STYLES:
                raise DataError(f"styled knows {', '.join(STYLES)}, and not '{style}'")
        known = of.spec.conditions.get(label)
        if known is None or known.classes is None or len(of.spec.shape) != 3:
            raise IncompatibleError(f"styled takes images with classes as condition '{label}'")
        self.of, self.styles, self.noun, self.told, self.label = of, tuple(styles), noun, told, label
        self.classes = known.names or tuple(map(str, range(known.classes)))

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary; the first is none."""
        return ("-", "a", "an", self.noun, *STYLES, *(c for c in self.classes if c != self.noun))

    @property
    def spec(self) -> Spec:
        """Images, with captions where they are told."""
        conditions = {
            "label": Condition(len(self.classes), names=self.classes, role="judged"),
            "style": Condition(len(self.styles), names=self.styles, role="judged"),
        }
        if self.told:
            conditions["words"] = Condition(len(self.words), shape=(_LENGTH,), names=self.words)
        return replace(self.of.spec, conditions=conditions)

    def __len__(self) -> int:
        return len(self.of) * len(self.styles)

    def take(self, rows: Tensor) -> Examples:
        """Images drawn in their style."""
        found, style = self.of.take(rows % len(self.of)), rows // len(self.of)
        x, label = found.x, found.cond[self.label]
        assert isinstance(x, Tensor)
        drawn = x.clone()
        for k, name in enumerate(self.styles):
            here = style == k
            if bool(here.any()):
                drawn[here] = STYLES[name](x[here])
        cond = {"label": label, "style": style}
        if self.told:
            captions = [
                self.caption(self.styles[int(s)], self.classes[int(c)] if int(r) % 2 else "")
                for s, c, r in zip(style, label, rows, strict=True)
            ]
            cond["words"] = tokens_of(captions, self.words)
        return Examples(drawn, cond)

    def caption(self, style: str, name: str = "") -> str:
        """Of an image of a style, and of a class where it is named."""
        return f"{'an' if style[0] in 'aeiou' else 'a'} {style} {self.noun} {name}".strip()

    def split(self, name: str) -> Dataset:
        """The same of a split of the other data set."""
        return Styled(self.of.split(name), self.styles, self.noun, self.told, self.label)


def tokens_of(texts: Sequence[str], words: Sequence[str], length: int = _LENGTH) -> Tensor:
    """Ids of words ``(n, length)``, 0 behind the end.

    Raises:
        DataError: a text has a word that is not known, or too many.
    """
    place, rows = {word: i for i, word in enumerate(words)}, []
    for text in texts:
        said = text.split()
        for word in said:
            if word not in place:
                raise DataError(
                    f"'{text}': the encoder knows no word '{word}'; it knows {', '.join(words[1:])}"
                )
        if len(said) > length:
            raise DataError(f"'{text}' has {len(said)} words, and captions at most {length}")
        rows.append([place[word] for word in said] + [0] * (length - len(said)))
    return torch.tensor(rows)
