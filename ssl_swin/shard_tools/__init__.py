"""The commands that make shards, look into them, and time them."""
