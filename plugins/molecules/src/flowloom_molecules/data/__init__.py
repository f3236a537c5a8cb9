"""Data sets of molecules and crystals, and how their files are read."""
