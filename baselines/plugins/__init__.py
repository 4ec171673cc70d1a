"""Predictors by name: finding, loading and starting those of installed packages."""
