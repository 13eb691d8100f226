"""The JSON report: its schema, how it is written and read back, and how its parts are named and formatted."""
