"""Reference: what every public name of flowloom and its plugins says of itself, read from the source."""
