"""What goes wrong in the world, done on purpose."""
