"""Vocabularies: text to token ids and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.libraries import transformers
from flowloom.spec import Spec

DNA = "ACGT"
PROTEIN = "ACDEFGHIKLMNPQRSTVWY"


class Vocabulary(ABC):
    """Token ids ``0 .. size - 1`` and the text that each stands for.

    Attributes:
        tokens: text of every id.
    """

    tokens: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    @abstractmethod
    def encode(self, text: str, where: str = "the text") -> list[int]:
        """Token ids of ``text``; ``where`` names it in errors.

        Raises:
            DataError: the text holds something that has no token.
        """

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids; the mask (id ``size``) shows as an underscore."""
        return "".join("_" if i == self.size else self.tokens[i] for i in ids)

    def require(self, spec: Spec) -> None:
        """Check that a run's spec speaks this vocabulary.

        Raises:
            IncompatibleError: it has another number of tokens, or other tokens.
        """
        vocab = spec.vocab if spec.vocab is not None else (spec.shape[-1] if spec.shape else 0)
        if vocab != self.size:
            raise IncompatibleError(
                f"this vocabulary has {self.size} tokens and the run's has {vocab}; "
                "encode with the vocabulary the run was trained on"
            )
        for i, (own, its) in enumerate(zip(self.tokens, spec.tokens, strict=False)):
            if own != its:
                raise IncompatibleError(
                    f"token {i} is {own!r} here and {its!r} in the run; "
                    "encode with the vocabulary the run was trained on"
                )


class Characters(Vocabulary):
    """One token a character.

    Args:
        letters: the characters, in the order of their ids.
    """

    def __init__(self, letters: str) -> None:
        if not letters or len(set(letters)) != len(letters):
            raise DataError(f"an alphabet is a string of different characters, got {letters!r}")
        self.tokens = tuple(letters)
        self._ids = {letter: i for i, letter in enumerate(letters)}

    @classmethod
    def of(cls, text: str) -> Characters:
        """The characters of ``text``, sorted."""
        return cls("".join(sorted(set(text))))

    def encode(self, text: str, where: str = "the text") -> list[int]:
        """Ids of the characters."""
        ids = self._ids
        try:
            return [ids[c] for c in text]
        except KeyError:
            at = next(i for i, c in enumerate(text) if c not in ids)
            shown = "".join(self.tokens) if self.size <= 80 else f"{self.size} characters"
            raise DataError(
                f"{where}: character {text[at]!r} at position {at} is not in the alphabet ({shown!r})"
            ) from None


class Bytes(Vocabulary):
    """One token a byte of the UTF-8 text; 256 tokens, nothing is unknown."""

    def __init__(self) -> None:
        self.tokens = tuple(map(chr, range(256)))

    def encode(self, text: str, where: str = "the text") -> list[int]:
        """Bytes of the text."""
        return list(text.encode())

    def decode(self, ids: Iterable[int]) -> str:
        """UTF-8 text; broken bytes show as the replacement character, the mask as an underscore."""
        return bytes(ord("_") if i == 256 else i for i in ids).decode("utf-8", "replace")


class Pretrained(Vocabulary):
    """The tokens of a ``transformers`` tokenizer.

    Args:
        name: local folder, or a name on the Hugging Face hub (downloaded on first use).
    """

    def __init__(self, name: str) -> None:
        try:
            # A folder is never looked up on the hub, so that a typing error does not become a download.
            tokenizers = transformers().AutoTokenizer
            self.tokenizer: Any = tokenizers.from_pretrained(name, local_files_only=Path(name).is_dir())
        except (OSError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise DataError(f"cannot load tokenizer {name!r}: {first}") from error
        self.tokens = tuple(self.tokenizer.convert_ids_to_tokens(range(len(self.tokenizer))))

    def encode(self, text: str, where: str = "the text") -> list[int]:
        """Ids without special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Iterable[int]) -> str:
        """Text; the mask shows as an underscore."""
        pieces: list[str] = []
        run: list[int] = []
        for i in ids:
            if i == self.size:
                pieces += [self.tokenizer.decode(run), "_"]
                run = []
            else:
                run.append(i)
        return "".join([*pieces, self.tokenizer.decode(run)])


class Named(Vocabulary):
    """The tokens that a spec names; what a run knows of its vocabulary without its data.

    Args:
        tokens: text of every id.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tuple(tokens)
        self._ids = {token: i for i, token in enumerate(self.tokens)}

    def encode(self, text: str, where: str = "the text") -> list[int]:
        """Ids of the characters; vocabularies of longer pieces need their tokenizer."""
        if any(len(token) != 1 for token in self.tokens):
            raise IncompatibleError("this run's tokens are pieces of text; encode with its own tokenizer")
        return Characters("".join(self.tokens)).encode(text, where)


def require_ids(ids: Tensor, vocab: int, what: str = "tokens", mask: bool = False) -> None:
    """Check that integer ids lie in ``[0, vocab)``, or ``[0, vocab]`` where the mask may stand.

    Raises:
        ShapeError: they are not integers, or one is out of range; the message says where.
    """
    if ids.dtype != torch.long:
        raise ShapeError(f"{what} must be int64 token ids, got {ids.dtype}")
    top = vocab if mask else vocab - 1
    bad = (ids < 0) | (ids > top)
    if bool(bad.any()):
        at = tuple(int(i) for i in bad.nonzero()[0])
        raise ShapeError(
            f"{what}: id {int(ids[at])} at {at} is out of range; this vocabulary has ids 0 to {vocab - 1}"
            + (f" and the mask {vocab}" if mask else "")
        )
