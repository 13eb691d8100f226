"""Models: networks for inputs in [0, 1] from model specs, and their weights."""
