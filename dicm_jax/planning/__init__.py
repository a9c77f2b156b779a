"""What a run will need, before it runs: memory, traffic, work, time."""
