"""Speech and sound for flowloom."""
