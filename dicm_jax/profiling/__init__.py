"""Where the time of a training step goes, read from a profiler's trace."""
