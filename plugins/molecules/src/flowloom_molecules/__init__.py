"""Molecules and crystals for flowloom. Importing the package costs nothing."""
