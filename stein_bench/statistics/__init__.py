"""Rates with intervals, paired tests, AUC and pixel counts by class: pure functions over NumPy arrays."""
