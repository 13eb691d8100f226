"""Whole experiments: every BN, statistics source and seed is trained and attacked, and the results are summarized."""
