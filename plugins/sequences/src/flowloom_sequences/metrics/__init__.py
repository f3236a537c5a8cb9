"""Metrics of sequences."""

from flowloom_sequences.metrics.judge import JudgePerplexity
from flowloom_sequences.metrics.languages import LanguageGap, MotifRecovery, TokenKL, Validity
from flowloom_sequences.metrics.ngram import NGramDistance, NGramModel

__all__ = [
    "JudgePerplexity",
    "LanguageGap",
    "MotifRecovery",
    "NGramDistance",
    "NGramModel",
    "TokenKL",
    "Validity",
]
