"""The leaderboard as one document."""
