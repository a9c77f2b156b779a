"""Files that hold logs, pictures and vectors, read as blocks."""
