"""The leaderboard: records in, comparisons and pages out."""
