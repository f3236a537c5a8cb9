"""The rows of the molecules plugin, one module each topic, found by name: words only."""
