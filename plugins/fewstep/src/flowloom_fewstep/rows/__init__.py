"""The rows of the fewstep plugin, one module each method or topic, found by name: words only."""
