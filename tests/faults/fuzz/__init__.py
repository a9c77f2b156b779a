"""Broken and hostile input for everything that reads: see `__main__`."""
