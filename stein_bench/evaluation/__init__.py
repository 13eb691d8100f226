"""Evaluation of BN variants: networks with weights, the loop over batches, and the report built from its units."""
