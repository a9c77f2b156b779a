"""A trained model outside of training: bundles, and what scores by them."""
