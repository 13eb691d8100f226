"""Sweeps: many models evaluated in turn, each with a report of its own in one folder."""
