"""One run: config -> objects, whether and from where it goes on, one life of it."""
