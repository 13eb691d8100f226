"""A report as a table, a page, files and figures."""
