"""The code that reads shards (the shards themselves, and recipes that make them, are in the top-level data/)."""
