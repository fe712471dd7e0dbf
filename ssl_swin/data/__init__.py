"""The code that reads shards; shards, and recipes that make them, lie in the top-level data/."""
