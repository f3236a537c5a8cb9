"""The rows of the images plugin, one module each method or topic, found by name: words only."""
