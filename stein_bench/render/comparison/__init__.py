"""Comparisons of reports, and results of the gate, as tables and files."""
