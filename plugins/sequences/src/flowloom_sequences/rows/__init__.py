"""The rows of the sequences plugin, one module each topic, found by name: words only."""
