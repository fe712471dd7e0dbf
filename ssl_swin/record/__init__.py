"""What a run leaves in its folder, and the table of many runs. Nothing here imports torch."""
