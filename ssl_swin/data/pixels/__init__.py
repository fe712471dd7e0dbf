"""Bytes of one image -> its pixels in the batch."""
