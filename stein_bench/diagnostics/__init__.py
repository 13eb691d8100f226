"""Sanity checks: probes of a model, and consistency of the results of a run."""
