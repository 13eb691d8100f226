"""A training run as a table and learning curves."""
