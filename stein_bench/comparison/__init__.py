"""Comparison within and between reports: pairing, contrasts, leaderboard, regression gate, conclusion. No torch."""
