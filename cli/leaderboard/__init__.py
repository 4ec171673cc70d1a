"""`tipl-bench leaderboard`."""

from .commands import leaderboard

__all__ = ["leaderboard"]
