"""Defenses that hide the gradient, sound networks, and what the attacks and the sanity checks say of each."""
