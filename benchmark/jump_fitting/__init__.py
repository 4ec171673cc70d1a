"""Fitting what a jump forecasts with as one command: trials under the method, a fit on them, and tuning trials."""
