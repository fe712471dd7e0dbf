"""A config for somebody's own images on somebody's own machine."""
