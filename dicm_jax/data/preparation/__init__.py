"""From blocks of events to a prepared data set."""
