"""Data at size for flowloom."""
