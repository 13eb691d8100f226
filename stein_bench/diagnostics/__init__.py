"""Sanity checks: probes of a model, and consistency of the results that a run has produced."""
