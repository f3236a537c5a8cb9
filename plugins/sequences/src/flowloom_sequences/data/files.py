"""FASTA files, and one sequence a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from flowloom.errors import DataError
from flowloom_sequences.data.read_text import read_utf8
from flowloom_sequences.data.records import Record, Records
from flowloom_sequences.data.stream import Shares
from flowloom_sequences.data.vocabulary import DNA, PROTEIN, Characters

# IUPAC codes that stand for several letters.
AMBIGUOUS_DNA = {
    "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
AMBIGUOUS_PROTEIN = {"B": "DN", "Z": "EQ", "J": "IL", "X": PROTEIN}


_LINE = re.compile(r"\r\n|\r|\n")
"""What ends a line of a file; a form feed, say, is a character of the line."""


class SequenceFile(Records):
    """Sequences of a FASTA file (a line starting with ``>`` opens a record) or of one a line.

    Empty lines are skipped. In FASTA, a class is the word after ``label=`` in the header; one a line, it is
    what follows a tab. Lower-case letters (soft-masked repeats) count as upper case for DNA and protein.

    Args:
        file: to read.
        alphabet: ``dna``, ``protein``, ``characters`` (those of the file), or the letters themselves.
        length: longest sequence; the longest of the file where left out.
        longer: what to do with longer ones: refuse the file, cut them, or leave them out.
        ambiguous: what to do with IUPAC letters that stand for several (N, R ...): refuse the file, leave the
            sequence out, or draw one of the letters they stand for (by ``seed``).
        judge: share held out for judges.
        test: share of the test split.
        val: share of the validation split.
        seed: of splits and of letters drawn.
    """

    def __init__(
        self,
        file: Path,
        alphabet: str = "dna",
        length: int | None = None,
        longer: Literal["error", "cut", "drop"] = "error",
        ambiguous: Literal["error", "drop", "draw"] = "error",
        judge: float = 0.4,
        test: float = 0.1,
        val: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(length, Shares(judge, test, val, seed))
        self.file, self.alphabet, self.longer, self.ambiguous = file, alphabet, longer, ambiguous

    def read(self) -> list[Record]:
        """The sequences that are kept."""
        text = read_utf8(Path(self.file))
        fasta = text.lstrip().startswith(">")
        found = list(_fasta(text, str(self.file)) if fasta else _lines(text))
        if not found:
            raise DataError(f"{self.file} holds no sequences, only empty lines")
        known = {"dna": (DNA, AMBIGUOUS_DNA), "protein": (PROTEIN, AMBIGUOUS_PROTEIN)}
        if self.alphabet == "characters":
            letters = "".join(sorted({c for _, s, _ in found for c in s}))
            codes: dict[str, str] = {}
        else:
            letters, codes = known.get(self.alphabet, (self.alphabet, {}))
        self.vocabulary = Characters(letters)
        generator = torch.Generator().manual_seed(self.shares.seed)
        records = []
        for where, sequence, label in found:
            if self.alphabet in known:
                sequence = sequence.upper()
            resolved = self._resolve(sequence, codes, f"{self.file}: {where}", generator)
            if resolved is None:
                continue
            if self.length is not None and len(resolved) > self.length:
                if self.longer == "error":
                    raise DataError(
                        f"{self.file}: {where} has {len(resolved)} letters, more than length {self.length}; "
                        "set length larger, or longer: cut or drop"
                    )
                if self.longer == "drop":
                    continue
                resolved = resolved[: self.length]
            records.append(Record(self.vocabulary.encode(resolved, f"{self.file}: {where}"), label))
        return records

    def _resolve(
        self, sequence: str, codes: dict[str, str], where: str, generator: torch.Generator
    ) -> str | None:
        """The sequence without ambiguous letters, or None where it is to be left out."""
        at = next((i for i, c in enumerate(sequence) if c in codes), None)
        if at is None:
            return sequence
        if self.ambiguous == "error":
            raise DataError(
                f"{where}: letter {sequence[at]!r} at position {at} stands for any of "
                f"{codes[sequence[at]]}; set ambiguous: drop or draw"
            )
        if self.ambiguous == "drop":
            return None
        return "".join(
            codes[c][int(torch.randint(len(codes[c]), (), generator=generator))] if c in codes else c
            for c in sequence
        )


def _fasta(text: str, file: str) -> Iterator[tuple[str, str, str | None]]:
    name, label, parts, opened = "", None, [], 0
    for number, line in enumerate([*_LINE.split(text), ">"], 1):
        line = line.strip()
        if not line.startswith(">"):
            parts.append(line)
            continue
        if opened:
            sequence = "".join(parts)
            if not sequence:
                raise DataError(f"{file}: record {name!r} (line {opened}) has no sequence")
            yield f"record {name!r} (line {opened})", sequence, label
        name, parts, opened = (line[1:].split() or [""])[0], [], number
        match = re.search(r"\blabel=(\S+)", line)
        label = match[1] if match else None


def _lines(text: str) -> Iterator[tuple[str, str, str | None]]:
    for number, line in enumerate(_LINE.split(text), 1):
        sequence, _, label = line.strip("\r\n").partition("\t")
        if sequence.strip():
            yield f"line {number}", sequence.strip(), label.strip() or None
