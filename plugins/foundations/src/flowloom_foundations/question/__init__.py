"""What is asked of a generator: the families, what their samples and densities say, and the games."""
