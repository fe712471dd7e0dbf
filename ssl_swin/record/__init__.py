"""What a run leaves in its folder, and the table of many runs; no torch."""
