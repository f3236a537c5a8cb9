"""What a finished run gives to others: shards of samples, exported graphs, a server, a copy on a hub."""
