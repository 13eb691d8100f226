"""Whole experiments: every BN, statistics source and seed trained and attacked, and what they say together."""
