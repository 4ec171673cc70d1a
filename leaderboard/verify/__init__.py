"""Verification of runs: their numbers recomputed from the forecasts, or by running again."""
