"""The rows of the foundations plugin, one module each method or topic, found by name: words only."""
