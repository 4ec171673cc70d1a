"""Attacks on a good submission, each with what `leaderboard check` must say of it."""

from . import on_files, on_forecasts, on_records
from .table import ATTACKS, Attack

__all__ = ["ATTACKS", "Attack", "on_files", "on_forecasts", "on_records"]
