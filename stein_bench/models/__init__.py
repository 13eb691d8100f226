"""Models: from a model spec to a network on inputs in [0, 1], and its weights."""
