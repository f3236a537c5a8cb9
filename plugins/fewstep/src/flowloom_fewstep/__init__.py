"""Methods that generate in one evaluation, or a few."""
