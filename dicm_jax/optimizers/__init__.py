"""Update rules and their parts, one a file, as optax transformations."""
