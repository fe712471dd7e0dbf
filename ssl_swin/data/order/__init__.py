"""Which sample at which step, on which rank; plain numbers."""
