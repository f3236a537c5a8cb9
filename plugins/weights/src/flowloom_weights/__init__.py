"""Networks as data for flowloom."""
