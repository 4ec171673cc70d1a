"""Whether a run's numbers are so: recomputed from its forecasts, or by running it again."""
