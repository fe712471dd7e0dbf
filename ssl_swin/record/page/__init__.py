"""Runs as one HTML page that needs no network: read, drawn, and put together."""
