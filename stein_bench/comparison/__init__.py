"""Two or more reports: pairing, contrasts, the leaderboard, the regression gate and the conclusion. Without torch."""
