"""Tables whose rows are spread over a device mesh, and the way to them."""
