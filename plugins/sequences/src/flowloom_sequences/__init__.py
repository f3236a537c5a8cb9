"""Sequences for flowloom: text, DNA, proteins and toy languages as states of tokens or simplex points."""
