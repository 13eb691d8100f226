"""The leaderboard page of many reports."""
