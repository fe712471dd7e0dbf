"""The same from afar: URLs, downloads, the cache, what to fetch next."""
