"""Stein-shrinkage batch normalization: estimators, layers, and the conversion of whole models.

Importing this package does not import torch; its modules `estimators`, `layers` and `convert` do.
"""
