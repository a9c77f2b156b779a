"""What can go wrong with a run, done to it on purpose."""
