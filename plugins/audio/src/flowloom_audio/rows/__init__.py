"""The rows of the audio plugin, one module each topic, found by name: words only."""
