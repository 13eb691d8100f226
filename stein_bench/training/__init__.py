"""Training with a BN estimator: configuration, recipe, loop, checkpoint, card."""
