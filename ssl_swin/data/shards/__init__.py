"""Which bytes of which shard are a sample: names, tars, indexes, sets."""
