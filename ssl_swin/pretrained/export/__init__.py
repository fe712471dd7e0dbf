"""Weights for other libraries: a folder of files that each opens by itself."""
