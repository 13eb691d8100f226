"""Dry runs as tables and documents."""
