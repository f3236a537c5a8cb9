"""Runs: a recipe carried out into a folder that explains itself and can be taken up again."""
