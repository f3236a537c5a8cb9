"""Foundation methods for flowloom: what sources, objectives and networks of any kind of data can do."""
