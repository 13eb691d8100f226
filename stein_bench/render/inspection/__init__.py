"""The BN layers of a model as a table and a figure."""
