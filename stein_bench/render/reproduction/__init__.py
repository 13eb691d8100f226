"""Experiments of the paper as tables, figures and a page."""
