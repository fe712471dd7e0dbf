"""Samples -> one batch, in loader processes."""
