"""From text to symbols: characters, or phonemes where espeak-ng is there."""

from __future__ import annotations

import re
import unicodedata
import warnings
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from flowloom.errors import DataError
from flowloom_audio.text.espeak import espeak

__all__ = ["DIGITS", "Frontend", "Symbols", "as_said"]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Symbols = Literal["characters", "phonemes"]

_LETTERS = " abcdefghijklmnopqrstuvwxyz'-.,!?;:"
# What espeak-ng writes in the International Phonetic Alphabet. One table for all texts: symbols mean the same
# in every run, and characters are there for machines without espeak-ng.
_PHONES = (
    "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃˈˌːˑʼʴʰʱʲʷˠˤ˞̩̃"
)


# Marks of print: what stands for a mark of the table, and what nobody says.
_WRITTEN = str.maketrans(
    {**dict.fromkeys("‘’", "'"), **dict.fromkeys("‐‑‒–—", "-"), **dict.fromkeys('"“”„«»()[]', "")}
)


class Frontend:
    """Text as ids of symbols; id 0 is padding.

    Text is put into lower case without accents, quotation marks and brackets, and single digits are spelled
    out, in English. Phonemes come
    from the program espeak-ng, which reads other languages as they are written, accents and numbers included;
    where it is not installed, characters are used, which is said once.

    Args:
        symbols: ``characters`` or ``phonemes``.
        language: for espeak-ng, such as ``en-us``.

    Attributes:
        tokens: text of every id, of which 0 is padding and empty.

    >>> frontend = Frontend()
    >>> frontend.decode(frontend.encode("Naïve 3!"))
    'naive three!'
    """

    def __init__(self, symbols: Symbols = "characters", language: str = "en-us") -> None:
        self.symbols, self.language = symbols, language
        self.tokens = ("", *_LETTERS, *(_PHONES if symbols == "phonemes" else ""))
        self._ids = {token: i for i, token in enumerate(self.tokens) if token}
        self.space = self._ids[" "]

    def encode(self, text: str) -> list[int]:
        """Ids of a text.

        Raises:
            DataError: it holds a character that has no symbol, or nothing that is said; says which.
        """
        plain = as_said(text)
        if not plain:
            raise DataError("the text is empty; give some words")
        if self.symbols == "phonemes" and not self.language.startswith("en"):
            spoken = phonemes(" ".join(unicodedata.normalize("NFC", text).split()), self.language)
            if spoken is not None:
                return self._said(spoken, text)
        strange = sorted({c for c in plain if c not in self._ids})
        if strange:
            raise DataError(
                f"the text {text!r} holds {', '.join(map(repr, strange))}, which has no symbol; "
                f"there are: {_LETTERS.strip()} and space"
            )
        if self.symbols == "phonemes":
            spoken = phonemes(plain, self.language)
            if spoken is not None:
                return self._said(spoken, text)
        if not any(c.isalnum() for c in plain):
            raise DataError(f"the text {text!r} holds nothing that is said; give some words")
        return [self._ids[c] for c in plain]

    def _said(self, spoken: str, text: str) -> list[int]:
        ids = [self._ids[c] for c in spoken if c in self._ids]
        if not ids:
            raise DataError(f"the text {text!r} holds nothing that espeak-ng says; give some words")
        return ids

    def padded(self, text: str, length: int) -> Tensor:
        """Ids of a text as ``(length,)``, padded with 0.

        Raises:
            DataError: the text is longer, or holds what has no symbol.
        """
        ids = self.encode(text)
        if len(ids) > length:
            raise DataError(
                f"the text {text!r} has {len(ids)} symbols, more than the {length} there is room for"
            )
        return torch.tensor(ids + [0] * (length - len(ids)))

    def decode(self, ids: list[int] | Tensor) -> str:
        """Symbols of ids, without padding."""
        values = ids.tolist() if isinstance(ids, Tensor) else ids
        return "".join(self.tokens[i] for i in values)


def as_said(text: str) -> str:
    """Lower case without accents and silent marks, digits spelled out, one space between words."""
    bare = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in bare if not unicodedata.combining(c)).lower().translate(_WRITTEN)
    words = []
    for word in bare.split():
        # "314" is said digit by digit: numbers are read in many ways, and this is the one without a guess.
        words.append(
            " ".join(DIGITS[int(c)] for c in word) if word.isascii() and word.isdigit() else _digits(word)
        )
    return " ".join(words)


def _digits(word: str) -> str:
    """A word with digits inside (``3!``, ``b2``), each of them spelled out."""
    if not any("0" <= c <= "9" for c in word):
        return word
    parts = [f" {DIGITS[int(c)]} " if "0" <= c <= "9" else c for c in word]
    joined = " ".join("".join(parts).split())
    for mark in ".,!?;:":
        joined = joined.replace(f" {mark}", mark)
    return joined


@lru_cache(maxsize=65536)
def phonemes(text: str, language: str = "en-us") -> str | None:
    """What espeak-ng writes for a text in the International Phonetic Alphabet, None where it is missing."""
    said = espeak(text, language, "-q", "--ipa")
    if said is None:
        _say_once()
        return None
    # Where it changes its language for a word it says so, "(en)", which is nothing to be spoken.
    return " ".join(re.sub(r"\([a-z]{2,3}(-[a-z0-9-]+)?\)", " ", said).split())


@lru_cache(maxsize=1)
def _say_once() -> None:
    warnings.warn("espeak-ng is not installed, so characters are used instead of phonemes", stacklevel=4)
