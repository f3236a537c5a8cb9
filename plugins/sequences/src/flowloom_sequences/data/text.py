"""Plain text files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from flowloom.data.files import fetch, find, folders
from flowloom.errors import DataError
from flowloom_sequences.data.read_text import read_utf8
from flowloom_sequences.data.stream import Shares, Stream
from flowloom_sequences.data.vocabulary import Bytes, Characters, Pretrained, Vocabulary

TINYSHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
TINYSHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def tinyshakespeare() -> Path:
    """``text/tinyshakespeare.txt`` under the data home, downloaded (1.1 MB) where it is missing."""
    places, name = folders(None, ("text",)), "tinyshakespeare.txt"
    return find(places, [name]) or fetch([TINYSHAKESPEARE], TINYSHAKESPEARE_SHA256, places[0] / name)


class Text(Stream):
    """Windows of a plain text file, one token a character, a byte, or a piece of a tokenizer.

    Args:
        file: the text; tinyshakespeare where left out (``$FLOWLOOM_DATA/text/tinyshakespeare.txt``, else
            downloaded and checked).
        level: ``characters`` (the sorted characters of the file are the vocabulary), ``bytes``, or
            ``tokenizer``.
        length: tokens in a window.
        tokenizer: for level tokenizer: local folder or hub name of a ``transformers`` tokenizer.
        stride: tokens from one window to the next.
        judge: share held out for judges.
        test: share of the test split.
        val: share of the validation split.
        blocks: number of blocks that are shared out to the splits.
        seed: of the splits.
    """

    def __init__(
        self,
        file: Path | None = None,
        level: Literal["characters", "bytes", "tokenizer"] = "characters",
        length: int = 128,
        tokenizer: str | None = None,
        stride: int = 1,
        judge: float = 0.4,
        test: float = 0.1,
        val: float = 0.0,
        blocks: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__(length, stride, blocks, Shares(judge, test, val, seed))
        if (level == "tokenizer") != (tokenizer is not None):
            raise DataError("level: tokenizer and tokenizer: FOLDER go together; give both or neither")
        self.file, self.level, self.tokenizer = file, level, tokenizer

    def read(self) -> Tensor:
        """The file as ids."""
        file = Path(self.file) if self.file is not None else tinyshakespeare()
        if self.level == "bytes":
            try:
                raw = file.read_bytes()
            except OSError as error:
                raise DataError(f"cannot read {file}: {error.strerror or error}") from error
            self.vocabulary: Vocabulary = Bytes()
            return torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else torch.zeros(0)
        text = read_utf8(file)
        if self.level == "tokenizer":
            assert self.tokenizer is not None
            self.vocabulary = Pretrained(self.tokenizer)
        else:
            self.vocabulary = Characters.of(text)
        return torch.tensor(self.vocabulary.encode(text, str(file)))
