"""The JSON report: its schema, writing and reading it, and the display names and formats of its parts."""
