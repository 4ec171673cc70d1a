"""Suites: boards as files, which name what is run on what, and their tasks, which any engine performs."""
