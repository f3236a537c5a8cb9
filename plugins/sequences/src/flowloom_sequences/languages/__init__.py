"""Toy languages with known entropy."""

from flowloom_sequences.languages.base import Language, LanguageData
from flowloom_sequences.languages.dyck import Dyck
from flowloom_sequences.languages.markov import Independent, Markov
from flowloom_sequences.languages.motifs import MotifDNA

__all__ = ["Dyck", "Independent", "Language", "LanguageData", "Markov", "MotifDNA"]
