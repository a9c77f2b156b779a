"""Click logs, pictures and batches as NumPy arrays."""
