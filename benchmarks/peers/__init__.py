"""Programs that do the work of ours in other ways, to compare with."""
