"""The rows of the trajectories plugin, one module each topic, found by name: words only."""
