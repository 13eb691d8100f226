"""A training as a table and learning curves."""
